// Face verification by cross-validation: "is this one person?" asked of every pair of a list.
// Protocol of LFW (Huang et al., "Labeled Faces in the Wild", 2007, View 2), with the conventions of InsightFace's verification script:
//   distance   squared Euclidean distance of the unit embeddings, 2 - 2 cos, in [0, 4]; a zero embedding stays zero
//   decision   same person when distance < threshold, strictly; thresholds i * 0.01, i = 0 .. 399
//   folds      the list's own, or ten contiguous ones; the threshold of a fold is the smallest of the best on all other folds
// All arithmetic is double. Counting is exact integers in O(pairs + folds * thresholds): a trial is put once into the bucket of the
// first threshold that accepts it.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "eval/pairs.h"

namespace vitrine::eval {

constexpr int kFolds = 10;                    // of a list without folds
constexpr double kThresholdStep = 0.01;       // accuracy
constexpr int kThresholds = 400;              //
constexpr double kFineThresholdStep = 0.001;  // val_at_far
constexpr int kFineThresholds = 4000;         //

// One comparison: what is left of a pair when the embeddings are gone.
struct Trial {
  double distance = 0;
  bool same = false;
  int fold = 0;
};

struct Trials {
  std::vector<Trial> all;  // in the list's order
  int folds = 0;           // >= 2; every fold has a trial
  double xnorm = 0;        // mean length of the raw embeddings over both images of every pair (and their mirror images)
};

// embeddings [list.images, dim], row-major. With `flipped` (the mirrored images, same shape, or empty) the two are summed first.
// Throws Error on a wrong size, a value that is not finite, or fewer pairs than folds.
Trials compare(std::span<const float> embeddings, int64_t dim, const PairList& list, std::span<const float> flipped = {});

struct FoldResult {
  int64_t pairs = 0, correct = 0;
  double threshold = 0;
};

struct Verification {
  int64_t pairs = 0, correct = 0;
  double accuracy = 0;  // mean of the folds' accuracies, 0 .. 1
  double std = 0;       // of the folds' accuracies, population (ddof 0)
  double xnorm = 0;     // see Trials
  std::vector<FoldResult> folds;
};

Verification verify(const Trials& trials);
Verification verify(std::span<const float> embeddings, int64_t dim, const PairList& list, std::span<const float> flipped = {});

// True accept rate at a false accept rate. Per fold, the threshold is read off the other folds' curve FAR(t), t = i * 0.001, at
// `target`, and 0 when the curve never gets there. The curve has flat pieces, so "the" threshold is a convention, that of
// InsightFace under SciPy before 1.10 (newer ones raise): j = last i with FAR_i <= target; t_j if equal, else linear towards t_{j+1}.
struct ValAtFar {
  double val = 0, val_std = 0, far = 0;  // means over folds and population deviation
  std::vector<double> fold_val, fold_far, fold_threshold;
};

// Throws Error unless 0 <= target <= 1 and every fold has both classes.
ValAtFar val_at_far(const Trials& trials, double target);

// 95 % score interval of a proportion (E. B. Wilson, 1927): unlike p +- 1.96 sd it stays inside [0, 1] and keeps a width at p = 1.
struct Interval {
  double low = 0, high = 1;
};
Interval wilson(int64_t correct, int64_t total);

}  // namespace vitrine::eval
