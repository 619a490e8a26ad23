#include "data/directory_set.h"

#include <algorithm>
#include <filesystem>

#include "data/codec.h"
#include "engine/core/error.h"

namespace vitrine::data {
namespace fs = std::filesystem;

DirectorySet::DirectorySet(const std::string& root) : root(root) {
  try {
    for (const fs::directory_entry& identity : fs::directory_iterator(root)) {
      if (!identity.is_directory()) continue;
      const std::string folder = identity.path().filename().string();
      const size_t before = paths.size();
      for (const fs::directory_entry& file : fs::directory_iterator(identity.path()))
        if (file.is_regular_file() && has_image_extension(file.path().string()))
          paths.push_back(folder + "/" + file.path().filename().string());
      if (paths.size() > before) identities.push_back(folder);
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(cat(error.path1().string(), ": cannot be listed: ", error.code().message()));
  }
  CHECK(!paths.empty(), root, ": no image found, ", root, "/<identity>/<image>.jpg or .png expected");

  // std::string compares bytes as unsigned. The orders of paths and of folders differ where a name continues with a byte below '/'.
  std::sort(paths.begin(), paths.end());
  std::sort(identities.begin(), identities.end());
  for (const std::string& path : paths) {
    const auto identity = std::lower_bound(identities.begin(), identities.end(), path.substr(0, path.find('/')));
    labels.push_back(identity - identities.begin());
  }
}

Image DirectorySet::image(int64_t i) const { return read_image((fs::path(root) / paths.at(i)).string()); }

}  // namespace vitrine::data
