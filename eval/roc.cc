#include "eval/roc.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "engine/core/parallel.h"

namespace vitrine::eval {
namespace {

// Points of the curve in order of growing rates, one per distinct score, before any is dropped.
template <class Visit>
void for_each_point(const ScoreSet& s, const Visit& visit) {
  size_t same = 0, different = 0;
  while (same < s.same.size() || different < s.different.size()) {
    double score = -std::numeric_limits<double>::infinity();
    if (same < s.same.size()) score = s.same[same];
    if (different < s.different.size()) score = std::max(score, s.different[different]);
    while (same < s.same.size() && s.same[same] == score) ++same;
    while (different < s.different.size() && s.different[different] == score) ++different;
    visit(OperatingPoint{
        .accepted_different = static_cast<int64_t>(different), .accepted_same = static_cast<int64_t>(same), .threshold = score});
  }
}

bool collinear(const OperatingPoint& a, const OperatingPoint& b, const OperatingPoint& c) {
  return c.accepted_different - b.accepted_different == b.accepted_different - a.accepted_different &&
         c.accepted_same - b.accepted_same == b.accepted_same - a.accepted_same;
}

// The same without the dropped points. Three in a row decide about the middle one; of all points, dropped ones too.
template <class Visit>
void for_each_kept_point(const ScoreSet& s, RocRule rule, const Visit& visit) {
  OperatingPoint before, last;
  int64_t count = 0;
  for_each_point(s, [&](const OperatingPoint& point) {
    if (count == 1 || (count > 1 && (rule == RocRule::kEveryPoint || !collinear(before, last, point)))) visit(last);
    before = last, last = point;
    ++count;
  });
  if (count > 0) visit(last);
}

void sort_parts(double* begin, double* end, int depth) {
  constexpr int64_t kSmall = 1 << 16;
  if (depth == 0 || end - begin < kSmall) return std::sort(begin, end, std::greater<>());
  double* middle = begin + (end - begin) / 2;
  std::nth_element(begin, middle, end, std::greater<>());
#pragma omp task
  sort_parts(begin, middle, depth - 1);
  sort_parts(middle, end, depth - 1);
}

}  // namespace

void sort_descending(std::vector<double>& x) {
  constexpr int kDepth = 3;  // eight parts: what there is to do is a set of numbers, so its order does not depend on who sorts it
#pragma omp parallel
#pragma omp single
  sort_parts(x.data(), x.data() + x.size(), kDepth);
}

ScoreSet sort_scores(std::vector<double>&& scores, std::span<const TemplatePair> pairs) {
  CHECK(scores.size() == pairs.size(), scores.size(), " scores of ", pairs.size(), " pairs");
  ScoreSet s;
  size_t kept = 0;
  for (size_t i = 0; i < pairs.size(); ++i) {
    CHECK(!std::isnan(scores[i]), "the score of pair ", i + 1, " is not a number");  // it would have no place in the order
    if (pairs[i].same)
      s.same.push_back(scores[i]);
    else
      scores[kept++] = scores[i];
  }
  scores.resize(kept);
  s.different = std::move(scores);
  sort_descending(s.same);
  sort_descending(s.different);
  return s;
}

std::vector<OperatingPoint> tpr_at_fpr(const ScoreSet& s, std::span<const double> targets, RocRule rule) {
  CHECK(!s.same.empty() && !s.different.empty(), s.same.size(), " scores of same and ", s.different.size(),
        " of different pairs, expected both");
  const auto rate = [](int64_t part, const std::vector<double>& all) {
    return static_cast<double>(part) / static_cast<double>(all.size());
  };
  // The curve begins at (0, 0), whose threshold accepts nothing.
  std::vector<OperatingPoint> best(targets.size(), {.threshold = std::numeric_limits<double>::infinity()});
  for (size_t i = 0; i < targets.size(); ++i) {
    CHECK(targets[i] >= 0 && targets[i] <= 1, "a false positive rate of ", targets[i], ", expected 0 to 1");
    best[i].target = targets[i];
  }
  for_each_kept_point(s, rule, [&](const OperatingPoint& point) {
    const double fpr = rate(point.accepted_different, s.different);
    for (OperatingPoint& b : best)
      if (std::abs(fpr - b.target) <= std::abs(b.fpr - b.target)) {  // later points have the larger rates
        b.accepted_different = point.accepted_different, b.accepted_same = point.accepted_same, b.threshold = point.threshold;
        b.fpr = fpr;
      }
  });
  for (OperatingPoint& b : best) b.tpr = rate(b.accepted_same, s.same);
  return best;
}

std::vector<OperatingPoint> roc_curve(const ScoreSet& s, int per_decade) {
  const auto n = static_cast<double>(s.different.size());
  const int steps = static_cast<int>(std::ceil(std::log10(n) * per_decade));
  std::vector<double> targets;
  for (int i = -steps; i <= 0; ++i) targets.push_back(std::pow(10.0, static_cast<double>(i) / per_decade));
  // What scores above the next different pair, straight from the sorted scores: no rule enters a drawing.
  const auto above = [](const std::vector<double>& x, double bound) {
    return std::lower_bound(x.begin(), x.end(), bound, std::greater<>()) - x.begin();
  };
  std::vector<OperatingPoint> curve;
  for (double target : targets) {
    const auto k = static_cast<size_t>(std::max(1.0, std::round(target * n)));
    const double bound = k < s.different.size() ? s.different[k] : -std::numeric_limits<double>::infinity();
    const int64_t different = above(s.different, bound), same = above(s.same, bound);
    curve.push_back({.target = target,
                     .fpr = static_cast<double>(different) / n,
                     .tpr = static_cast<double>(same) / static_cast<double>(s.same.size()),
                     .accepted_different = different,
                     .accepted_same = same,
                     .threshold = bound});
  }
  return curve;
}

}  // namespace vitrine::eval
