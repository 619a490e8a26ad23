// A data set as a folder of folders: ROOT/<identity>/<image>.{jpg,jpeg,png}, LFW's own layout.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace vitrine::data {

// Index i is the i-th of all paths `identity/image`, sorted by byte value: recorded batch files count on this order. Labels number the
// identities that have an image, sorted by byte value too. Extensions count in any case; other files, and folders deeper down, are
// ignored. Errors: ROOT is no readable folder, or holds no image.
class DirectorySet : public Dataset {
 public:
  explicit DirectorySet(const std::string& root);

  int64_t size() const override { return int64_t(paths.size()); }
  int64_t label(int64_t i) const override { return labels.at(i); }
  Image image(int64_t i) const override;
  std::string name(int64_t i) const override { return paths.at(i); }

  const std::string root;
  std::vector<std::string> paths;       // relative to root
  std::vector<int64_t> labels;          // of each path, an index into identities
  std::vector<std::string> identities;  // folder names
};

}  // namespace vitrine::data
