// Loose images with five landmarks each, seen as aligned crops.
#pragma once
#include <atomic>
#include <vector>

#include "data/align.h"
#include "data/dataset.h"

namespace vitrine::data {

enum class Unreadable { kError, kSkip };

class AlignedView : public Dataset {
 public:
  // points[i] are the landmarks of image i of the set, which must outlive this one. With kSkip an image that cannot be decoded or aligned
  // comes out black and is remembered as skipped.
  AlignedView(const Dataset& loose, std::vector<FacePoints> points, Unreadable policy = Unreadable::kError);  // Error unless equally many

  int64_t size() const override { return loose_.size(); }
  int64_t label(int64_t i) const override { return loose_.label(i); }
  Image image(int64_t i) const override;
  std::string name(int64_t i) const override { return loose_.name(i); }
  bool skipped(int64_t i) const { return skipped_[static_cast<size_t>(i)]; }

 private:
  const Dataset& loose_;
  const std::vector<FacePoints> points_;
  const Unreadable policy_;
  mutable std::vector<std::atomic<bool>> skipped_;
};

}  // namespace vitrine::data
