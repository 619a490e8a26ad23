#include "data/aligned_view.h"

#include "engine/core/error.h"

namespace vitrine::data {

AlignedView::AlignedView(const Dataset& loose, std::vector<FacePoints> points, Unreadable policy)
    : loose_(loose), points_(std::move(points)), policy_(policy), skipped_(points_.size()) {
  CHECK(int64_t(points_.size()) == loose.size(), points_.size(), " faces with landmarks, expected ", loose.size());
}

Image AlignedView::image(int64_t i) const {
  const int side = 112;
  if (policy_ == Unreadable::kError) return align(loose_.image(i), points_.at(i), side);
  try {
    return align(loose_.image(i), points_.at(i), side);
  } catch (const Error&) {
    skipped_[static_cast<size_t>(i)] = true;
    return Image(side, side);
  }
}

}  // namespace vitrine::data
