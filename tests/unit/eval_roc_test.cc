// Rates and their uncertainty: scikit-learn's points (golden checks 16, 17), 1:N against definitions written out, bootstrap, paired test.
#include "eval/roc.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/core/parallel.h"
#include "engine/core/rng.h"
#include "eval/identify.h"
#include "eval/uncertainty.h"
#include "tests/unit/data_testing.h"

namespace vitrine::eval {
namespace {

using data::error_of;
using Json = nlohmann::json;

ScoreSet score_set(const std::vector<int>& labels, std::vector<double> scores) {
  std::vector<TemplatePair> pairs;
  for (int label : labels) pairs.push_back({0, 0, static_cast<uint32_t>(label)});
  if (scores.empty())
    for (size_t i = 0; i < labels.size(); ++i) scores.push_back(1 - 1e-4 * static_cast<double>(i));
  return sort_scores(std::move(scores), pairs);
}

void expect_points(const ScoreSet& s, const Json& targets, const Json& tpr, const Json& fpr, RocRule rule) {
  const auto points = tpr_at_fpr(s, targets.get<std::vector<double>>(), rule);
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_DOUBLE_EQ(points[i].tpr, tpr[i].get<double>()) << targets[i];
    if (!fpr.is_null()) {
      EXPECT_DOUBLE_EQ(points[i].fpr, fpr[i].get<double>()) << targets[i];
    }
  }
}

TEST(EvalRoc, PointsAreThoseOfScikitLearn) {
  const Json toys = Json::parse(read_file(golden("ijb/roc_toys.json")));
  const Json &drop = toys["drop_intermediate_example"], &ties = toys["ties_example"], &half = toys["halfway_example"];
  const ScoreSet s = score_set(drop["labels"], {});
  expect_points(s, drop["targets"], drop["tpr"], drop["fpr_used"], RocRule::kDropIntermediate);
  expect_points(s, drop["targets"], drop["tpr_without_drop"], drop["fpr_without_drop"], RocRule::kEveryPoint);
  expect_points(score_set(ties["labels"], ties["scores"]), ties["targets"], ties["tpr"], ties["fpr_used"], RocRule::kDropIntermediate);
  expect_points(score_set(half["labels"], half["scores"]), half["targets"], half["tpr"], {}, RocRule::kDropIntermediate);
}

// The definition, written out over whole arrays, on scores with many ties.
std::vector<std::pair<int64_t, int64_t>> kept_points(std::vector<std::pair<double, int>> scored) {
  std::sort(scored.rbegin(), scored.rend());
  std::vector<std::pair<int64_t, int64_t>> all, kept{{0, 0}};
  int64_t fps = 0, tps = 0;
  for (size_t i = 0; i < scored.size(); ++i) {
    (scored[i].second ? tps : fps)++;
    if (i + 1 == scored.size() || scored[i + 1].first != scored[i].first) all.push_back({fps, tps});
  }
  for (size_t k = 0; k < all.size(); ++k) {
    const bool end = k == 0 || k + 1 == all.size();
    if (end || all[k + 1].first - 2 * all[k].first + all[k - 1].first != 0 ||
        all[k + 1].second - 2 * all[k].second + all[k - 1].second != 0)
      kept.push_back(all[k]);
  }
  return kept;
}

TEST(EvalRoc, PointsAreThoseOfTheDefinition) {
  Philox rng(11);
  const std::vector<double> targets = {0, 1e-3, 0.01, 0.05, 0.1, 0.3, 0.5, 1};
  for (int trial = 0; trial < 200; ++trial) {
    const uint64_t levels = 2 + rng.below(60), n = 2 + rng.below(300);
    std::vector<std::pair<double, int>> scored{{0.5, 0}, {0.5, 1}};
    std::vector<int> labels{0, 1};
    std::vector<double> scores{0.5, 0.5};
    for (uint64_t i = 0; i < n; ++i) {
      scored.push_back({static_cast<double>(rng.below(levels)) / 7, static_cast<int>(rng.below(3) == 0)});
      labels.push_back(scored.back().second), scores.push_back(scored.back().first);
    }
    const ScoreSet s = score_set(labels, scores);
    const auto kept = kept_points(scored);
    const auto points = tpr_at_fpr(s, targets);
    for (size_t t = 0; t < targets.size(); ++t) {
      std::pair<int64_t, int64_t> best = kept.back();
      const auto gap = [&](auto& p) {
        return std::abs(static_cast<double>(p.first) / static_cast<double>(s.different.size()) - targets[t]);
      };
      for (auto p = kept.rbegin(); p != kept.rend(); ++p)
        if (gap(*p) < gap(best)) best = *p;
      EXPECT_EQ(std::pair(points[t].accepted_different, points[t].accepted_same), best) << trial << " " << targets[t];
    }
  }
}

TEST(EvalRoc, ThresholdsAcceptWhatThePointSays) {
  Philox rng(5);
  std::vector<int> labels;
  std::vector<double> scores;
  for (int i = 0; i < 5000; ++i) labels.push_back(i % 10 == 0), scores.push_back(rng.normal() + (i % 10 == 0));
  const ScoreSet s = score_set(labels, scores);
  for (const auto& p : tpr_at_fpr(s, kIjbTargets)) {
    int64_t accepted[2] = {0, 0};
    for (int i = 0; i < 5000; ++i) accepted[labels[i]] += scores[i] >= p.threshold;
    EXPECT_EQ(accepted[0], p.accepted_different);
    EXPECT_EQ(accepted[1], p.accepted_same);
  }
  for (const auto& p : roc_curve(s)) {
    int64_t accepted[2] = {0, 0};
    for (int i = 0; i < 5000; ++i) accepted[labels[i]] += scores[i] > p.threshold;
    EXPECT_EQ(accepted[0], p.accepted_different);
    EXPECT_EQ(accepted[1], p.accepted_same);
    EXPECT_NEAR(p.fpr, p.target, 1.0 / 4500);
  }
  EXPECT_EQ(roc_curve(s).back().tpr, 1);
}

TEST(EvalRoc, SortingIsThatOfTheStandardLibraryForAnyThreads) {
  Philox rng(1);
  std::vector<double> x;
  for (int i = 0; i < 1'000'000; ++i) x.push_back(static_cast<double>(rng.below(300'000)) - 1e5);
  auto expected = x;
  std::sort(expected.begin(), expected.end(), std::greater<>());
  const int before = threads();
  for (int n : {1, 4}) {
    auto sorted = x;
    set_threads(n);
    sort_descending(sorted);
    EXPECT_TRUE(sorted == expected) << n;
  }
  set_threads(before);
}

TEST(EvalRoc, BadInputIsRefused) {
  EXPECT_EQ(error_of([] { tpr_at_fpr({{1}, {}}, kIjbTargets); }), "1 scores of same and 0 of different pairs, expected both");
  EXPECT_EQ(error_of([] { tpr_at_fpr({{1}, {1}}, std::vector<double>{1.5}); }), "a false positive rate of 1.5, expected 0 to 1");
}

// Four templates on a circle. Gallery 0 (subject 0), 1 (subject 1); probes 2 (subject 0), 3 (subject 1 or nobody's).
struct Circle {
  Templates unit{.dim = 2, .rows = {}};
  explicit Circle(const std::vector<double>& degrees) {
    for (double d : degrees)
      for (double turn : {0.0, 90.0}) unit.rows.push_back(std::cos((d - turn) * M_PI / 180));
  }
};

TEST(EvalIdentify, ClosedSetCountsRanksAndThresholds) {
  const Circle c({0, 90, 10, 30});
  const ClosedSet r = identify_closed(c.unit, {{0, 1}, {0, 1}}, {{2, 3}, {0, 1}});
  EXPECT_EQ(r.found, (std::array<int64_t, 3>{1, 2, 2}));  // the second probe is nearer to the other subject
  // Scores with non-mates: cos 80 and cos 30. ceil(2 * 0.01) = 1: the threshold is the larger, cos 30; only cos 10 exceeds it.
  EXPECT_NEAR(r.thresholds[0], std::cos(M_PI / 6), 1e-15);
  EXPECT_EQ(r.found_at_fpir, (std::array<int64_t, 2>{1, 1}));
  EXPECT_EQ(error_of([&] {
              identify_closed(c.unit, {{0, 1}, {0, 0}}, {{2}, {0}});
            }),
            "subject 0 has two templates in the gallery, expected one");
  EXPECT_EQ(error_of([&] {
              identify_closed(c.unit, {{0, 1}, {0, 1}}, {{2}, {7}});
            }),
            "probe of subject 7 has no mate in the gallery, expected a closed set");
}

TEST(EvalIdentify, OpenSetNeedsRankOneAboveTheThreshold) {
  const Circle c({0, 90, 10, 30, 50});
  // Probe 4 is nobody's: its best score, cos 40, is the threshold. Probe 2 is found, probe 3 (of subject 1) is not.
  const OpenSet r = identify_open(c.unit, {{0, 1}, {0, 1}}, {{2, 3, 4}, {0, 1, 9}});
  EXPECT_EQ(r.mated, 2);
  EXPECT_EQ(r.mateless, 1);
  EXPECT_NEAR(r.thresholds[0], std::cos(40 * M_PI / 180), 1e-15);
  EXPECT_EQ(r.found_at_fpir, (std::array<int64_t, 2>{1, 1}));
}

// A score that equals a threshold, or the best of the others, is not above it.
TEST(EvalIdentify, TiesAreNotFound) {
  const Templates t{.dim = 2, .rows = {1, 0, 0, 1, 0.5, 0.5, 0.75, 0.25, 0.75, 0.25}};
  const ClosedSet closed = identify_closed(t, {{0, 1}, {0, 1}}, {{2}, {0}});
  EXPECT_EQ(closed.found, (std::array<int64_t, 3>{1, 1, 1})) << "nobody scores higher than the mate";
  EXPECT_EQ(closed.thresholds[0], 0.5);
  EXPECT_EQ(closed.found_at_fpir, (std::array<int64_t, 2>{0, 0}));
  const OpenSet as_high_as_another = identify_open(t, {{0, 1}, {0, 1}}, {{2, 1}, {0, 9}});
  EXPECT_EQ(as_high_as_another.found_at_fpir, (std::array<int64_t, 2>{0, 0}));
  const OpenSet as_high_as_a_stranger = identify_open(t, {{0, 1}, {0, 1}}, {{3, 4}, {0, 9}});
  EXPECT_EQ(as_high_as_a_stranger.thresholds[0], 0.75);
  EXPECT_EQ(as_high_as_a_stranger.found_at_fpir, (std::array<int64_t, 2>{0, 0}));
}

// A gallery every ten degrees, so that ranks and scores can be read off the angles.
struct Dial {
  Enrolment gallery, probes;
  std::vector<double> degrees;
  Dial() {
    for (int i = 0; i < 12; ++i) add(gallery, 10.0 * i, i);
  }
  void add(Enrolment& to, double degree, int subject) {
    to.templates.push_back(static_cast<int>(degrees.size())), to.subjects.push_back(subject), degrees.push_back(degree);
  }
  static double cosine(double degree) { return std::cos(degree * M_PI / 180); }
};

TEST(EvalIdentify, ClosedSetOfTwelveByHand) {
  Dial d;
  d.add(d.probes, 22, 0);    // nearer are 20, 30, 10, 40: rank 5
  d.add(d.probes, 62, 0);    // all others are nearer: rank 12
  d.add(d.probes, 30.5, 3);  // rank 1, half a degree away
  d.add(d.probes, 41, 0);    // 40, 50, 30, 60, 20, 70, 10, 80: rank 9
  d.add(d.probes, 71.5, 7);  // rank 1
  for (int i = 1; i <= 7; ++i) d.add(d.probes, 10 * i + 4, i);
  const ClosedSet r = identify_closed(Circle(d.degrees).unit, d.gallery, d.probes);
  EXPECT_EQ(r.probes, 12);
  EXPECT_EQ(r.found, (std::array<int64_t, 3>{9, 10, 11}));
  // The highest scores with others: 41 with 40, then 22 with 20 and 62 with 60. ceil(12 * 0.01) = 1, ceil(12 * 0.1) = 2.
  EXPECT_NEAR(r.thresholds[0], Dial::cosine(1), 1e-14);
  EXPECT_NEAR(r.thresholds[1], Dial::cosine(2), 1e-14);
  EXPECT_EQ(r.found_at_fpir, (std::array<int64_t, 2>{1, 2}));
}

TEST(EvalIdentify, OpenSetOfTwelveByHand) {
  Dial d;
  d.add(d.probes, 52, 5);                                                      // found at both thresholds
  d.add(d.probes, 64, 6);                                                      // above the second alone
  d.add(d.probes, 25.2, 2);                                                    // above the second, but 30 is nearer than 20
  for (int i = 0; i < 20; ++i) d.add(d.probes, i ? 115.0 + i : 113, 100 + i);  // nobody's: 3, 6, 7, .. degrees from the last
  const OpenSet r = identify_open(Circle(d.degrees).unit, d.gallery, d.probes);
  EXPECT_EQ(r.mated, 3);
  EXPECT_EQ(r.mateless, 20);
  EXPECT_NEAR(r.thresholds[0], Dial::cosine(3), 1e-14);  // place max(floor(20 * 0.01) - 1, 0) = 0
  EXPECT_NEAR(r.thresholds[1], Dial::cosine(6), 1e-14);  // place floor(20 * 0.1) - 1 = 1
  EXPECT_EQ(r.found_at_fpir, (std::array<int64_t, 2>{1, 2}));
}

// The threshold of the closed set against all scores sorted, with more scores than are ever kept together.
TEST(EvalIdentify, ClosedThresholdIsTheOrderStatistic) {
  Philox rng(8);
  Templates t{.dim = 5, .rows = {}};
  constexpr int kGallery = 40, kProbes = 700;
  for (int i = 0; i < (kGallery + kProbes) * 5; ++i) t.rows.push_back(rng.normal());
  to_unit_length(t);
  Enrolment gallery, probes;
  for (int i = 0; i < kGallery; ++i) gallery.templates.push_back(i), gallery.subjects.push_back(i);
  for (int i = 0; i < kProbes; ++i) probes.templates.push_back(kGallery + i), probes.subjects.push_back(i % kGallery);
  const ClosedSet r = identify_closed(t, gallery, probes);
  std::vector<double> others;
  for (int p = 0; p < kProbes; ++p)
    for (int g = 0; g < kGallery; ++g)
      if (g != p % kGallery) others.push_back(dot(&t.rows[(kGallery + p) * 5], &t.rows[g * 5], 5));
  std::sort(others.rbegin(), others.rend());
  EXPECT_EQ(r.thresholds[0], others[7 - 1]);
  EXPECT_EQ(r.thresholds[1], others[70 - 1]);
}

TEST(EvalUncertainty, McNemarIsTheBinomialTest) {
  EXPECT_EQ(mcnemar(0, 0).p, 1);
  EXPECT_NEAR(mcnemar(0, 5).p, 2.0 / 32, 1e-12);
  EXPECT_NEAR(mcnemar(3, 7).p, 2 * (1 + 10 + 45 + 120) / 1024.0, 1e-12);
  EXPECT_EQ(mcnemar(4, 4).p, 1);
  EXPECT_NEAR(mcnemar(40, 12).p, mcnemar(12, 40).p, 1e-15);
  const auto decisions = [](const std::vector<bool>& correct) {
    std::vector<Decision> all;
    for (bool c : correct) all.push_back({.same = true, .correct = c});
    return all;
  };
  const PairedTest t = mcnemar(decisions({true, true, false, false, true}), decisions({true, false, true, false, false}));
  EXPECT_EQ(t.only_a, 2);
  EXPECT_EQ(t.only_b, 1);
  auto other = decisions({true});
  other[0].pair = "C D";
  EXPECT_NE(error_of([&] { mcnemar(decisions({true}), other); }).find("paired test: pair 1 is "), std::string::npos);
  other = decisions({true}), other[0].same = false;
  EXPECT_NE(error_of([&] { mcnemar(decisions({true}), other); }).find("or has two labels"), std::string::npos);
  EXPECT_EQ(error_of([&] { mcnemar(decisions({true}), decisions({})); }), "paired test: 1 and 0 decisions, expected the same pairs");
}

TEST(EvalUncertainty, DecisionsAreThoseThatWereCounted) {
  Trials trials{.all = {}, .folds = 10, .xnorm = 1};
  Philox rng(4);
  for (int i = 0; i < 400; ++i) trials.all.push_back({.distance = 1 + 0.5 * rng.normal() + (i % 2), .same = i % 2 == 0, .fold = i / 40});
  for (Trial& t : trials.all) t.distance = std::round(std::clamp(t.distance, 0.0, 4.0) / kThresholdStep) * kThresholdStep;  // ties
  const Verification v = verify(trials);
  const auto all = decide(trials, v);
  EXPECT_EQ(std::count_if(all.begin(), all.end(), [](auto& d) { return d.correct; }), v.correct);
}

// Templates of `people` with noise: every pair compared.
struct Population {
  std::vector<TemplatePair> pairs;
  std::vector<double> scores;
  Population(int people, int each, uint64_t seed) {
    Philox rng(seed);
    Templates t{.dim = 16, .rows = {}};
    for (int p = 0; p < people; ++p) {
      std::vector<double> centre;
      for (int k = 0; k < 16; ++k) centre.push_back(rng.normal());
      for (int i = 0; i < each; ++i)
        for (int k = 0; k < 16; ++k) t.rows.push_back(centre[k] + 1.2 * rng.normal());
    }
    to_unit_length(t);
    for (uint32_t a = 0; a < t.size(); ++a)
      for (uint32_t b = a + 1; b < t.size(); ++b) pairs.push_back({a, b, a / each == b / each});
    scores = template_scores(t, pairs);
  }
};

TEST(EvalUncertainty, BootstrapHoldsTheEstimateAndRepeats) {
  const Population p(40, 3, 2);
  const double targets[] = {1e-3, 1e-2, 1e-1};
  const auto a = bootstrap_tpr(p.pairs, p.scores, 120, targets, 100, 7), b = bootstrap_tpr(p.pairs, p.scores, 120, targets, 100, 7);
  const auto points = tpr_at_fpr(sort_scores(std::vector(p.scores), p.pairs), targets);
  for (int i = 0; i < 3; ++i) {
    EXPECT_LE(a[i].low, points[i].tpr);
    EXPECT_GE(a[i].high, points[i].tpr);
    EXPECT_LT(a[i].low, a[i].high);
    EXPECT_EQ(a[i].low, b[i].low);
    EXPECT_EQ(a[i].high, b[i].high);
  }
  const auto other = bootstrap_tpr(p.pairs, p.scores, 120, targets, 100, 8);
  EXPECT_NE(std::pair(other[1].low, other[1].high), std::pair(a[1].low, a[1].high));
  EXPECT_NE(std::pair(other[2].low, other[2].high), std::pair(a[2].low, a[2].high));
}

// With one template every replicate is the sample: same pairs at .9 and .5, different ones at .7 and .1. FPR is 0 at .9 and 1/2 at .5.
TEST(EvalUncertainty, AReplicatesThresholdIsTheLowestThatKeepsTheTarget) {
  const std::vector<TemplatePair> pairs{{0, 0, 1}, {0, 0, 1}, {0, 0, 0}, {0, 0, 0}};
  const std::vector<double> scores{.9, .5, .7, .1}, targets{0, 0.3, 0.5, 1};
  const auto a = bootstrap_tpr(pairs, scores, 1, targets, 20, 1);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(a[i].low, i < 2 ? 0.5 : 1) << targets[i];
    EXPECT_EQ(a[i].low, a[i].high) << targets[i];
  }
  // Half of the replicates of two templates have no same pair at all: they find nothing.
  const std::vector<TemplatePair> two{{0, 1, 1}, {0, 0, 0}, {1, 1, 0}};
  const Interval some = bootstrap_tpr(two, std::vector{.9, .1, .2}, 2, std::vector{0.5}, 40, 1)[0];
  EXPECT_EQ(some.low, 0);
  EXPECT_EQ(some.high, 1);
  std::vector<double> nan = scores;
  nan[2] = std::nan("");
  EXPECT_THROW(bootstrap_tpr(pairs, nan, 1, targets, 10, 1), Error);
  EXPECT_THROW(sort_scores(std::move(nan), pairs), Error);
}

// The definition, written out: 37 replicates of 36 templates, two groups of sixteen and a part of a third. Ranks 0.9 and 35.1 of 0 .. 36.
TEST(EvalUncertainty, BootstrapIsThatOfTheDefinition) {
  const Population p(12, 3, 5);
  const double targets[] = {1e-2, 1e-1};
  const auto intervals = bootstrap_tpr(p.pairs, p.scores, 36, targets, 37, 9);
  std::vector<double> tpr[2];
  for (uint64_t replicate = 0; replicate < 37; ++replicate) {
    Philox rng(9, replicate);
    std::vector<int64_t> drawn(36), total(2);
    for (int i = 0; i < 36; ++i) ++drawn[rng.below(36)];
    std::vector<std::pair<double, std::pair<bool, int64_t>>> weighted;  // no two scores are equal
    for (size_t i = 0; i < p.pairs.size(); ++i) {
      const int64_t weight = drawn[p.pairs[i].a] * drawn[p.pairs[i].b];
      weighted.push_back({p.scores[i], {p.pairs[i].same, weight}}), total[p.pairs[i].same] += weight;
    }
    std::sort(weighted.rbegin(), weighted.rend());
    for (int t = 0; t < 2; ++t) {
      int64_t accepted[2] = {0, 0};
      for (auto& [score, pair] : weighted) {
        accepted[pair.first] += pair.second;
        if (static_cast<double>(accepted[0]) > targets[t] * static_cast<double>(total[0])) break;
      }
      tpr[t].push_back(static_cast<double>(accepted[1]) / static_cast<double>(total[1]));
    }
  }
  for (int t = 0; t < 2; ++t) {
    std::sort(tpr[t].begin(), tpr[t].end());
    EXPECT_EQ(intervals[t].low, tpr[t][1]);
    EXPECT_EQ(intervals[t].high, tpr[t][35]);
  }
}

// What resampling estimates is the spread between samples: intervals of 95 % hold the population's value about that often, which pairs
// taken as independent (Wilson) do not.
TEST(EvalUncertainty, BootstrapIntervalsCover) {
  const double target[] = {1e-2};
  const Population large(300, 3, 99);
  const double truth = tpr_at_fpr(sort_scores(std::vector(large.scores), large.pairs), target)[0].tpr;
  int covered = 0;
  constexpr int kSamples = 40;
  for (int i = 0; i < kSamples; ++i) {
    const Population sample(30, 3, 1000 + static_cast<uint64_t>(i));
    const Interval interval = bootstrap_tpr(sample.pairs, sample.scores, 90, target, 96, 1)[0];
    covered += interval.low <= truth && truth <= interval.high;
  }
  EXPECT_GE(covered, 32);  // P(fewer | 95 %) < 1e-3, P(fewer | 90 %) = 4 %
}

}  // namespace
}  // namespace vitrine::eval
