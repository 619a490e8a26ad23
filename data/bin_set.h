// InsightFace's verification files NAME.bin: a Python pickle of (images, same), images 2i and 2i+1 being pair i.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "engine/core/error.h"
#include "engine/core/pickle.h"

namespace vitrine::data {

// Images are encoded JPEG or PNG, each a str of Python 2, bytes (as protocol 3 and above or Python 3's protocol 2 write them) or a numpy
// array of uint8 of any shape; `same` is a list of bool or numpy.bool_, or a numpy array of bool. The file is held in memory, images are
// decoded when asked for. The pickle may name the globals that take part in this and no other. Error "FILE: ..." for anything else.
class BinSet : public Dataset {
 public:
  explicit BinSet(const std::string& path);
  BinSet(std::string_view bytes, const std::string& file);  // `file` is for messages

  int64_t size() const override { return int64_t(images_.size()); }
  int64_t label(int64_t) const override { return 0; }  // nobody says who is shown
  Image image(int64_t i) const override;
  std::string name(int64_t i) const override { return cat(file_, ": image ", i); }
  std::string_view encoded(int64_t i) const { return pickle_[images_.at(i)].text; }

  std::vector<bool> same;  // of each pair: size() / 2

 private:
  std::string file_;
  Pickle pickle_;
  std::vector<int> images_;  // values whose text is an encoded image
};

}  // namespace vitrine::data
