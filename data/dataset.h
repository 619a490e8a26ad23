// Labelled images by index, and what can be put around any such set: a part of it, a cache.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "data/image.h"

namespace vitrine::data {

// Indices run over 0 .. size()-1 and mean the same image for the life of the set. All members may be called from several threads.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  virtual int64_t label(int64_t i) const = 0;     // the identity, >= 0
  virtual Image image(int64_t i) const = 0;       // decoded now; Error if that fails
  virtual std::string name(int64_t i) const = 0;  // for messages and reports
};

// label(0), label(1), ...: what the samplers need.
std::vector<int64_t> labels(const Dataset& set);
int64_t count_identities(const Dataset& set);  // different labels

// What lies at `folder`: a RecordSet where it has a train.rec, else a DirectorySet.
std::unique_ptr<Dataset> open_dataset(const std::string& folder);

// Images held in memory.
class MemorySet : public Dataset {
 public:
  MemorySet(std::vector<Image> images, std::vector<int64_t> labels);  // Error unless equally many

  int64_t size() const override { return int64_t(images_.size()); }
  int64_t label(int64_t i) const override { return labels_.at(i); }
  Image image(int64_t i) const override { return images_.at(i); }
  std::string name(int64_t i) const override;

 private:
  std::vector<Image> images_;
  std::vector<int64_t> labels_;
};

// The images `indices` of another set, which must outlive this one; labels are kept, so they may have gaps.
class SubsetView : public Dataset {
 public:
  SubsetView(const Dataset& set, std::vector<int64_t> indices);  // Error if an index is out of range

  int64_t size() const override { return int64_t(indices_.size()); }
  int64_t label(int64_t i) const override { return set_.label(indices_.at(i)); }
  Image image(int64_t i) const override { return set_.image(indices_.at(i)); }
  std::string name(int64_t i) const override { return set_.name(indices_.at(i)); }

 private:
  const Dataset& set_;
  std::vector<int64_t> indices_;
};

// Keeps the decoded images of another set, which must outlive this one, so that an image drawn again is not decoded again. Whatever
// comes first stays until max_bytes of pixels are held; the rest is decoded each time (LFW at 112x112 takes 498 MB).
class CachedSet : public Dataset {
 public:
  CachedSet(const Dataset& set, int64_t max_bytes);

  int64_t size() const override { return set_.size(); }
  int64_t label(int64_t i) const override { return set_.label(i); }
  Image image(int64_t i) const override;
  std::string name(int64_t i) const override { return set_.name(i); }

  int64_t bytes() const;  // held now, <= max_bytes

 private:
  const Dataset& set_;
  const int64_t max_bytes_;
  mutable std::mutex mutex_;  // of the two below
  mutable std::vector<std::shared_ptr<const Image>> images_;
  mutable int64_t bytes_ = 0;
};

}  // namespace vitrine::data
