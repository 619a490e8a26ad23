// TPR at FPR over any number of scores, to the last pair.
// scikit-learn's roc_curve, which published IJB numbers come from, gives one point per distinct score (accept if score >= it) and then
// drops points between collinear neighbours; "the TPR at FPR x" is read off the point nearest to x. So the dropping decides which point
// that is: inside a run of different pairs without a same pair only its ends are left.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "eval/ijb.h"

namespace vitrine::eval {

struct ScoreSet {
  std::vector<double> same, different;  // each in descending order
};
// Splits the scores of pairs by class and sorts them with all threads; `scores` is used up. Error if one is not a number.
ScoreSet sort_scores(std::vector<double>&& scores, std::span<const TemplatePair> pairs);
void sort_descending(std::vector<double>&);

enum class RocRule {
  kDropIntermediate,  // scikit-learn's default: a point k is dropped if the second difference of both counts at k is zero
  kEveryPoint,        // the naive reading
};

struct OperatingPoint {
  double target = 0;  // FPR asked for
  double fpr = 0, tpr = 0;
  int64_t accepted_different = 0, accepted_same = 0;
  double threshold = 0;  // accept if score >= it; +infinity at the point (0, 0)
};

// For each target the point with the least |fpr - target|; of several the one with the largest FPR, then TPR. Error unless both classes
// have scores.
std::vector<OperatingPoint> tpr_at_fpr(const ScoreSet&, std::span<const double> targets, RocRule = RocRule::kDropIntermediate);

constexpr double kIjbTargets[] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1};

// A curve for drawing: `per_decade` points to a decade of FPR from 1 / differents to 1; each accepts what scores above its threshold.
std::vector<OperatingPoint> roc_curve(const ScoreSet&, int per_decade = 20);

}  // namespace vitrine::eval
