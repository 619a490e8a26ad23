#include "eval/uncertainty.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "engine/core/rng.h"

namespace vitrine::eval {
namespace {

constexpr int kLanes = 16;       // replicates that go through the pairs together
constexpr int kMaxWeight = 255;  // a template drawn more often has a probability below 1e-300
using Lanes = std::array<uint64_t, kLanes>;

// Thresholds are looked for at the scores of same pairs: between two of them TPR does not change.
std::vector<double> same_scores(std::span<const TemplatePair> pairs, std::span<const double> scores) {
  std::vector<double> same;
  for (size_t i = 0; i < pairs.size(); ++i)
    if (pairs[i].same) same.push_back(scores[i]);
  std::sort(same.begin(), same.end(), std::greater<>());
  same.erase(std::unique(same.begin(), same.end()), same.end());
  return same;
}

// Finds the first threshold that accepts a score, by a table over the scores' range and a short walk.
class Buckets {
 public:
  explicit Buckets(const std::vector<double>& thresholds) : thresholds_(thresholds), low_(thresholds.back()) {
    const double range = thresholds.front() - low_;
    scale_ = range > 0 ? (kCells - 1) / range : 0;
    first_.resize(kCells);
    size_t t = 0;
    for (int cell = kCells - 1; cell >= 0; --cell) {
      first_[cell] = static_cast<int>(t);
      while (t < thresholds.size() && cell_of(thresholds[t]) >= cell) ++t;
    }
  }
  // thresholds.size() where none does.
  int of(double score) const {
    if (score < low_) return static_cast<int>(thresholds_.size());
    int t = first_[cell_of(score)];
    while (thresholds_[t] > score) ++t;
    return t;
  }

 private:
  static constexpr int kCells = 1 << 16;
  int cell_of(double score) const { return static_cast<int>(std::clamp((score - low_) * scale_, 0.0, kCells - 1.0)); }
  const std::vector<double>& thresholds_;
  double low_, scale_ = 0;
  std::vector<int> first_;
};

// How often each template is drawn in the replicates first .. first + kLanes - 1: [templates][kLanes].
std::vector<uint8_t> draw_weights(int64_t templates, int64_t first, uint64_t seed) {
  std::vector<uint8_t> weights(templates * kLanes);
  for (int lane = 0; lane < kLanes; ++lane) {
    Philox rng(seed, static_cast<uint64_t>(first + lane));
    for (int64_t i = 0; i < templates; ++i) {
      uint8_t& w = weights[static_cast<int64_t>(rng.below(static_cast<uint64_t>(templates))) * kLanes + lane];
      w = static_cast<uint8_t>(std::min<int>(w + 1, kMaxWeight));
    }
  }
  return weights;
}

void accumulate(const uint8_t* a, const uint8_t* b, uint64_t* sum) {
  for (int lane = 0; lane < kLanes; ++lane) sum[lane] += static_cast<uint32_t>(a[lane]) * b[lane];
}

// One lane's TPR at the lowest threshold whose FPR does not exceed the target.
double tpr_at(const std::vector<Lanes>& same, const std::vector<Lanes>& different, int lane, double target) {
  uint64_t all_same = 0, all_different = 0;
  for (size_t t = 0; t < same.size(); ++t) all_same += same[t][lane], all_different += different[t][lane];
  if (all_same == 0) return 0;
  const double limit = target * static_cast<double>(all_different);
  uint64_t accepted = 0, false_accepted = 0;
  for (size_t t = 0; t < same.size(); ++t) {
    false_accepted += different[t][lane];
    if (static_cast<double>(false_accepted) > limit) break;
    accepted += same[t][lane];
  }
  return static_cast<double>(accepted) / static_cast<double>(all_same);
}

Interval percentiles(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  const auto at = [&](double q) { return x[static_cast<size_t>(std::lround(q * static_cast<double>(x.size() - 1)))]; };
  return {at(0.025), at(0.975)};
}

}  // namespace

std::vector<Interval> bootstrap_tpr(std::span<const TemplatePair> pairs, std::span<const double> scores, int64_t templates,
                                    std::span<const double> targets, int replicates, uint64_t seed) {
  CHECK(replicates > 0 && pairs.size() == scores.size() && !pairs.empty(), replicates, " replicates of ", pairs.size(), " pairs with ",
        scores.size(), " scores");
  CHECK(std::none_of(scores.begin(), scores.end(), [](double s) { return std::isnan(s); }), "a score is not a number");
  const std::vector<double> thresholds = same_scores(pairs, scores);
  CHECK(!thresholds.empty(), "no same pair, expected both classes");
  const Buckets buckets(thresholds);
  const int64_t groups = chunk_count(replicates, kLanes);
  std::vector<std::vector<double>> tpr(targets.size(), std::vector<double>(static_cast<size_t>(groups * kLanes)));
  parallel_chunks(groups, [&](int64_t group) {
    const auto weights = draw_weights(templates, group * kLanes, seed);
    std::vector<Lanes> sums[2];
    for (auto& s : sums) s.assign(thresholds.size() + 1, {});
    for (size_t i = 0; i < pairs.size(); ++i) {
      const TemplatePair p = pairs[i];
      accumulate(weights.data() + p.a * kLanes, weights.data() + p.b * kLanes, sums[p.same][buckets.of(scores[i])].data());
    }
    for (size_t t = 0; t < targets.size(); ++t)
      for (int lane = 0; lane < kLanes; ++lane) tpr[t][group * kLanes + lane] = tpr_at(sums[1], sums[0], lane, targets[t]);
  });
  std::vector<Interval> intervals;
  for (auto& t : tpr) t.resize(replicates), intervals.push_back(percentiles(std::move(t)));
  return intervals;
}

PairedTest mcnemar(int64_t only_a, int64_t only_b) {
  CHECK(only_a >= 0 && only_b >= 0, "McNemar: ", only_a, " and ", only_b, " pairs, expected counts");
  const int64_t n = only_a + only_b;
  double p = 0;  // twice the smaller tail of Binomial(n, 1/2)
  for (int64_t k = 0; k <= std::min(only_a, only_b); ++k)
    p += std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(static_cast<double>(n - k) + 1.0) -
                  static_cast<double>(n) * std::log(2.0));
  return {only_a, only_b, std::min(1.0, 2 * p)};
}

PairedTest mcnemar(std::span<const Decision> a, std::span<const Decision> b) {
  CHECK(a.size() == b.size(), "paired test: ", a.size(), " and ", b.size(), " decisions, expected the same pairs");
  int64_t only_a = 0, only_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].same == b[i].same && a[i].pair == b[i].pair, "paired test: pair ", i + 1, " is ", a[i].pair, " and ", b[i].pair,
          ", or has two labels: expected the same pairs");
    only_a += a[i].correct && !b[i].correct;
    only_b += b[i].correct && !a[i].correct;
  }
  return mcnemar(only_a, only_b);
}

}  // namespace vitrine::eval
