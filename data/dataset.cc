#include "data/dataset.h"

#include <filesystem>
#include <set>
#include <utility>

#include "data/directory_set.h"
#include "data/record_set.h"
#include "engine/core/error.h"

namespace vitrine::data {

std::vector<int64_t> labels(const Dataset& set) {
  std::vector<int64_t> out(set.size());
  for (int64_t i = 0; i < set.size(); ++i) out[i] = set.label(i);
  return out;
}

int64_t count_identities(const Dataset& set) {
  const std::vector<int64_t> all = labels(set);
  return int64_t(std::set<int64_t>(all.begin(), all.end()).size());
}

std::unique_ptr<Dataset> open_dataset(const std::string& folder) {
  const std::filesystem::path records = std::filesystem::path(folder) / "train.rec";
  if (std::filesystem::exists(records)) return std::make_unique<RecordSet>(records.string());
  return std::make_unique<DirectorySet>(folder);
}

MemorySet::MemorySet(std::vector<Image> images, std::vector<int64_t> labels) : images_(std::move(images)), labels_(std::move(labels)) {
  CHECK(images_.size() == labels_.size(), "data set of ", images_.size(), " images and ", labels_.size(), " labels: equally many expected");
}

std::string MemorySet::name(int64_t i) const { return cat("image ", i); }

SubsetView::SubsetView(const Dataset& set, std::vector<int64_t> indices) : set_(set), indices_(std::move(indices)) {
  for (const int64_t i : indices_) CHECK(i >= 0 && i < set.size(), "subset: index ", i, " in a set of ", set.size(), " images");
}

CachedSet::CachedSet(const Dataset& set, int64_t max_bytes) : set_(set), max_bytes_(max_bytes), images_(set.size()) {}

Image CachedSet::image(int64_t i) const {
  std::shared_ptr<const Image> held;
  {
    std::lock_guard lock(mutex_);
    held = images_.at(i);
  }
  if (held) return *held;  // copied outside the lock
  Image image = set_.image(i);
  const int64_t size = int64_t(image.pixels.size());
  auto copy = std::make_shared<const Image>(image);
  std::lock_guard lock(mutex_);  // another thread may have decoded it meanwhile: the images are equal, keep its copy
  if (!images_[i] && bytes_ + size <= max_bytes_) {
    images_[i] = std::move(copy);
    bytes_ += size;
  }
  return image;
}

int64_t CachedSet::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace vitrine::data
