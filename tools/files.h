// Images by path, as a data set.
#pragma once
#include <string>
#include <vector>

#include "data/codec.h"
#include "data/dataset.h"

namespace vitrine::tools {

class FileSet : public data::Dataset {
 public:
  explicit FileSet(std::vector<std::string> paths) : paths_(std::move(paths)) {}
  int64_t size() const override { return static_cast<int64_t>(paths_.size()); }
  int64_t label(int64_t) const override { return 0; }
  data::Image image(int64_t i) const override { return data::read_image(paths_.at(i)); }
  std::string name(int64_t i) const override { return paths_.at(i); }

 private:
  std::vector<std::string> paths_;
};

}  // namespace vitrine::tools
