#include "eval/verify.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/core/error.h"

namespace vitrine::eval {
namespace {

double mean(const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size()); }

double deviation(const std::vector<double>& x) {
  double centre = mean(x), sum = 0;
  for (double v : x) sum += (v - centre) * (v - centre);
  return std::sqrt(sum / static_cast<double>(x.size()));
}

double ratio(int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

// How many trials of each class and fold threshold i * step accepts, for every i < count. Row `folds` holds the sum over folds.
class Tally {
 public:
  Tally(const Trials& trials, double step, int count) : folds_(trials.folds), count_(count), accepted_((folds_ + 1) * 2 * row()) {
    for (const Trial& trial : trials.all) {
      int bucket = first_accepting(trial.distance, step);
      for (int fold : {trial.fold, folds_}) ++accepted_[index(fold, trial.same, bucket)];
    }
    for (int fold = 0; fold <= folds_; ++fold) {
      for (bool same : {false, true}) {
        auto begin = accepted_.begin() + index(fold, same, 0);
        std::partial_sum(begin, begin + row(), begin);
      }
    }
  }

  int64_t accepted(int fold, bool same, int i) const { return accepted_[index(fold, same, i)]; }
  int64_t size(int fold, bool same) const { return accepted(fold, same, count_); }
  int64_t size(int fold) const { return size(fold, false) + size(fold, true); }
  int64_t correct(int fold, int i) const { return accepted(fold, true, i) + size(fold, false) - accepted(fold, false, i); }
  // The same for all folds but one: what a threshold is chosen on.
  int64_t accepted_elsewhere(int fold, bool same, int i) const { return accepted(folds_, same, i) - accepted(fold, same, i); }
  int64_t size_elsewhere(int fold, bool same) const { return size(folds_, same) - size(fold, same); }
  int64_t correct_elsewhere(int fold, int i) const { return correct(folds_, i) - correct(fold, i); }

 private:
  int64_t row() const { return count_ + 1; }  // the last bucket: accepted by no threshold
  int64_t index(int fold, bool same, int i) const { return (fold * 2 + same) * row() + i; }

  // Smallest i with distance < i * step. The quotient, rounded down, may miss it from below but never passes it; the definition decides.
  int first_accepting(double distance, double step) const {
    int i = static_cast<int>(std::clamp(distance / step, 0.0, static_cast<double>(count_)));
    while (i < count_ && !(distance < i * step)) ++i;
    return i;
  }

  int folds_, count_;
  std::vector<int64_t> accepted_;
};

// Sum of an image's embedding and that of its mirror image, read element by element.
struct Summed {
  std::span<const float> embeddings, flipped;
  double operator[](int64_t i) const { return flipped.empty() ? embeddings[i] : double{embeddings[i]} + double{flipped[i]}; }
};

double row_length(const auto& x, int64_t row, int64_t dim) {
  double sum = 0;
  for (int64_t i = row * dim; i < (row + 1) * dim; ++i) sum += double{x[i]} * double{x[i]};
  return std::sqrt(sum);
}

std::vector<double> row_lengths(const auto& x, int64_t rows, int64_t dim) {
  std::vector<double> length(rows);
  for (int64_t r = 0; r < rows; ++r) length[r] = row_length(x, r, dim);
  return length;
}

void check_embeddings(std::span<const float> x, int64_t dim, const PairList& list, const char* what) {
  const auto images = static_cast<int64_t>(list.images.size());
  CHECK(dim > 0 && static_cast<int64_t>(x.size()) == images * dim, list.name, ": ", x.size(), " numbers of ", what, ", expected ", images,
        " images x ", dim);
  auto bad = std::find_if(x.begin(), x.end(), [](float v) { return !std::isfinite(v); });
  CHECK(bad == x.end(), list.name, ": ", what, " of ", list.images[(bad - x.begin()) / dim], " has the value ", *bad,
        ", expected finite numbers");
}

void check_trials(const Trials& trials) {
  CHECK(trials.folds >= 2, trials.folds, " folds, expected at least 2");
  std::vector<int64_t> size(trials.folds);
  for (const Trial& trial : trials.all) {
    CHECK(trial.fold >= 0 && trial.fold < trials.folds, "fold ", trial.fold, ", expected 0 to ", trials.folds - 1);
    CHECK(std::isfinite(trial.distance), "a distance of ", trial.distance, ", expected a finite number");
    ++size[trial.fold];
  }
  CHECK(std::count(size.begin(), size.end(), 0) == 0, trials.all.size(), " pairs leave one of ", trials.folds,
        " folds empty, expected a pair in every fold");
}

}  // namespace

Trials compare(std::span<const float> embeddings, int64_t dim, const PairList& list, std::span<const float> flipped) {
  check_embeddings(embeddings, dim, list, "embeddings");
  if (!flipped.empty()) check_embeddings(flipped, dim, list, "mirrored embeddings");
  const auto images = static_cast<int64_t>(list.images.size());
  const Summed x{embeddings, flipped};
  std::vector<double> length = row_lengths(x, images, dim), raw = row_lengths(embeddings, images, dim);
  if (!flipped.empty()) {
    for (int64_t r = 0; r < images; ++r) raw[r] = (raw[r] + row_length(flipped, r, dim)) / 2;
  }
  // A zero embedding has no direction: dividing it by 1 leaves it zero, at distance 1 from every unit vector.
  std::replace(length.begin(), length.end(), 0.0, 1.0);

  Trials trials{.all = {}, .folds = list.folds > 0 ? list.folds : kFolds, .xnorm = 0};
  std::vector<int> fold;
  if (list.folds == 0) fold = contiguous_folds(static_cast<int64_t>(list.pairs.size()), kFolds);
  for (size_t p = 0; p < list.pairs.size(); ++p) {
    const Pair& pair = list.pairs[p];
    for (int i : {pair.a, pair.b}) CHECK(i >= 0 && i < images, list.name, ": image ", i, " in a pair, expected 0 to ", images - 1);
    double sum = 0;
    for (int64_t i = 0; i < dim; ++i) {
      double d = x[pair.a * dim + i] / length[pair.a] - x[pair.b * dim + i] / length[pair.b];
      sum += d * d;
    }
    trials.all.push_back({.distance = sum, .same = pair.same, .fold = list.folds > 0 ? pair.fold : fold[p]});
    trials.xnorm += (raw[pair.a] + raw[pair.b]) / 2;
  }
  check_trials(trials);
  trials.xnorm /= static_cast<double>(list.pairs.size());
  return trials;
}

Verification verify(const Trials& trials) {
  check_trials(trials);
  Tally tally(trials, kThresholdStep, kThresholds);
  Verification result;
  result.pairs = static_cast<int64_t>(trials.all.size());
  result.xnorm = trials.xnorm;
  std::vector<double> accuracy;
  for (int fold = 0; fold < trials.folds; ++fold) {
    int best = 0;  // the first maximum: the smallest threshold
    for (int i = 1; i < kThresholds; ++i) {
      if (tally.correct_elsewhere(fold, i) > tally.correct_elsewhere(fold, best)) best = i;
    }
    result.folds.push_back({.pairs = tally.size(fold), .correct = tally.correct(fold, best), .threshold = best * kThresholdStep});
    result.correct += result.folds.back().correct;
    accuracy.push_back(ratio(result.folds.back().correct, result.folds.back().pairs));
  }
  result.accuracy = mean(accuracy);
  result.std = deviation(accuracy);
  return result;
}

Verification verify(std::span<const float> embeddings, int64_t dim, const PairList& list, std::span<const float> flipped) {
  return verify(compare(embeddings, dim, list, flipped));
}

ValAtFar val_at_far(const Trials& trials, double target) {
  check_trials(trials);
  CHECK(target >= 0 && target <= 1, "a false accept rate of ", target, ", expected 0 to 1");
  Tally tally(trials, kFineThresholdStep, kFineThresholds);
  ValAtFar result;
  for (int fold = 0; fold < trials.folds; ++fold) {
    CHECK(tally.size(fold, true) > 0 && tally.size(fold, false) > 0, "fold ", fold + 1, " has ", tally.size(fold, true), " same and ",
          tally.size(fold, false), " different pairs, expected both");
    auto far = [&](int i) { return ratio(tally.accepted_elsewhere(fold, false, i), tally.size_elsewhere(fold, false)); };
    double threshold = 0;
    if (far(kFineThresholds - 1) >= target) {
      int j = kFineThresholds - 1;
      while (j > 0 && far(j) > target) --j;  // stops: threshold 0 accepts nothing, FAR_0 = 0
      threshold = j * kFineThresholdStep;
      if (far(j) < target) {
        double slope = ((j + 1) * kFineThresholdStep - threshold) / (far(j + 1) - far(j));
        threshold += slope * (target - far(j));
      }
    }
    int64_t accepted[2] = {0, 0};
    for (const Trial& trial : trials.all) accepted[trial.same] += trial.fold == fold && trial.distance < threshold;
    result.fold_threshold.push_back(threshold);
    result.fold_val.push_back(ratio(accepted[true], tally.size(fold, true)));
    result.fold_far.push_back(ratio(accepted[false], tally.size(fold, false)));
  }
  result.val = mean(result.fold_val);
  result.val_std = deviation(result.fold_val);
  result.far = mean(result.fold_far);
  return result;
}

Interval wilson(int64_t correct, int64_t total) {
  CHECK(total > 0 && correct >= 0 && correct <= total, correct, " correct of ", total, ", expected 0 <= correct <= total, total > 0");
  constexpr double kZ = 1.959963984540054;  // the normal distribution's 97.5 % point
  double p = ratio(correct, total), n = static_cast<double>(total), shrink = 1 / (1 + kZ * kZ / n);
  double centre = shrink * (p + kZ * kZ / (2 * n));
  double half = shrink * kZ * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  // At p = 0 and 1 one end is exact; rounding must not move it.
  return {.low = correct == 0 ? 0 : centre - half, .high = correct == total ? 1 : centre + half};
}

}  // namespace vitrine::eval
