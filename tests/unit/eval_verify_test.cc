// Verification: the recorded reference run (golden checks 10, 12, 13), the naive definitions, and bad input.
#include "eval/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/core/error.h"
#include "tests/golden.h"

namespace vitrine::eval {
namespace {

// ---- Golden values of the reference: embeddings of 200 pairs in .bin order, 8 dimensions.
struct Golden {
  nlohmann::json json = nlohmann::json::parse(read_file(golden("eval/verification_a.json")));
  PairList list = consecutive_pairs("a", json["issame"].get<std::vector<bool>>());
  std::vector<float> embeddings = flat("embeddings"), flipped = flat("embeddings_flip");

  std::vector<float> flat(const char* key) const {
    std::vector<float> all;
    for (const auto& row : json[key]) {
      for (float v : row) all.push_back(v);
    }
    return all;
  }
};

TEST(EvalVerify, GoldenDistancesAndNorm) {
  Golden g;
  Trials trials = compare(g.embeddings, 8, g.list, g.flipped);
  ASSERT_EQ(trials.all.size(), 200u);
  for (size_t i = 0; i < 200; ++i) EXPECT_NEAR(trials.all[i].distance, g.json["dist"][i].get<double>(), 1e-13) << i;
  EXPECT_NEAR(trials.xnorm, g.json["xnorm"].get<double>(), 1e-12);
}

TEST(EvalVerify, GoldenAccuracy) {
  Golden g;
  Verification v = verify(g.embeddings, 8, g.list, g.flipped);
  EXPECT_NEAR(v.accuracy, g.json["accuracy_mean"].get<double>(), 1e-15);
  EXPECT_NEAR(v.std, g.json["accuracy_std"].get<double>(), 1e-15);
  EXPECT_EQ(v.pairs, 200);
  EXPECT_EQ(v.correct, 182);
  ASSERT_EQ(v.folds.size(), 10u);
  for (int f = 0; f < 10; ++f) {
    EXPECT_EQ(v.folds[f].pairs, 20);
    EXPECT_EQ(v.folds[f].correct / 20.0, g.json["fold_accuracy"][f].get<double>()) << f;
    EXPECT_EQ(v.folds[f].threshold, g.json["fold_best_threshold"][f].get<double>()) << f;
  }
}

TEST(EvalVerify, GoldenAccuracyWithoutMirrorImages) {
  Golden g;
  Verification v = verify(g.embeddings, 8, g.list);
  EXPECT_NEAR(v.accuracy, g.json["accuracy_mean_noflip"].get<double>(), 1e-15);
  for (int f = 0; f < 10; ++f) EXPECT_EQ(v.folds[f].correct / 20.0, g.json["fold_accuracy_noflip"][f].get<double>()) << f;
}

TEST(EvalVerify, GoldenValAtFar) {
  Golden g;
  Trials trials = compare(g.embeddings, 8, g.list, g.flipped);
  for (const auto& [target, expected] : g.json["val_at_far"].items()) {
    ValAtFar v = val_at_far(trials, std::stod(target));
    EXPECT_NEAR(v.val, expected["val_mean"].get<double>(), 1e-14) << target;
    EXPECT_NEAR(v.val_std, expected["val_std"].get<double>(), 1e-14) << target;
    EXPECT_NEAR(v.far, expected["far_mean"].get<double>(), 1e-14) << target;
    for (int f = 0; f < 10; ++f) {
      EXPECT_EQ(v.fold_val[f], expected["val_folds"][f].get<double>()) << target << " fold " << f;
      EXPECT_EQ(v.fold_far[f], expected["far_folds"][f].get<double>()) << target << " fold " << f;
      EXPECT_NEAR(v.fold_threshold[f], expected["thresholds"][f].get<double>(), 1e-14) << target << " fold " << f;
    }
  }
}

TEST(EvalVerify, ThresholdsAreProductsNotSums) {  // golden check 13: 0.35 as the reference has it
  EXPECT_EQ(35 * kThresholdStep, 0.35000000000000003);
}

// ---- The definitions, word by word, to hold the counting against.
double naive_correct(const Trials& trials, double threshold, int fold, bool elsewhere) {
  int64_t correct = 0, total = 0;
  for (const Trial& t : trials.all) {
    if ((t.fold == fold) == elsewhere) continue;
    ++total;
    correct += (t.distance < threshold) == t.same;
  }
  return static_cast<double>(correct) / static_cast<double>(total);
}

void expect_naive(const Trials& trials) {
  Verification v = verify(trials);
  double sum = 0, squares = 0;  // folds count alike, however many pairs they have
  for (int fold = 0; fold < trials.folds; ++fold) {
    double best = -1, threshold = 0;
    for (int i = 0; i < 400; ++i) {
      double accuracy = naive_correct(trials, i * 0.01, fold, true);
      if (accuracy > best) best = accuracy, threshold = i * 0.01;
    }
    ASSERT_EQ(v.folds[fold].threshold, threshold);
    const double accuracy = naive_correct(trials, threshold, fold, false);
    ASSERT_EQ(static_cast<double>(v.folds[fold].correct) / static_cast<double>(v.folds[fold].pairs), accuracy);
    sum += accuracy, squares += accuracy * accuracy;
  }
  const double mean = sum / trials.folds;
  EXPECT_NEAR(v.accuracy, mean, 1e-15);
  EXPECT_NEAR(v.std * v.std, squares / trials.folds - mean * mean, 1e-14);
}

double naive_rate(const Trials& trials, bool same, double threshold, int fold, bool elsewhere) {
  int64_t accepted = 0, total = 0;
  for (const Trial& t : trials.all) {
    if ((t.fold == fold) == elsewhere || t.same != same) continue;
    ++total;
    accepted += t.distance < threshold;
  }
  return static_cast<double>(accepted) / static_cast<double>(total);
}

void expect_naive_far(const Trials& trials, double target) {
  ValAtFar v = val_at_far(trials, target);
  for (int fold = 0; fold < trials.folds; ++fold) {
    std::vector<double> far;
    for (int i = 0; i < 4000; ++i) far.push_back(naive_rate(trials, false, i * 0.001, fold, true));
    double threshold = 0;
    if (*std::max_element(far.begin(), far.end()) >= target) {
      size_t j = 0;
      for (size_t i = 0; i < far.size(); ++i) {
        if (far[i] <= target) j = i;
      }
      threshold = far[j] == target ? j * 0.001 : j * 0.001 + (target - far[j]) * ((j + 1) * 0.001 - j * 0.001) / (far[j + 1] - far[j]);
    }
    ASSERT_NEAR(v.fold_threshold[fold], threshold, 1e-14);
    ASSERT_EQ(v.fold_val[fold], naive_rate(trials, true, v.fold_threshold[fold], fold, false));
    ASSERT_EQ(v.fold_far[fold], naive_rate(trials, false, v.fold_threshold[fold], fold, false));
  }
}

// Distances on, just below and just above the thresholds, many of them equal, some outside [0, 4).
Trials random_trials(unsigned seed, int size, int folds) {
  std::mt19937 random(seed);
  Trials trials{.all = {}, .folds = folds, .xnorm = 0};
  std::vector<int> fold = contiguous_folds(size, folds);
  for (int i = 0; i < size; ++i) {
    bool same = random() % 2;
    double distance = static_cast<double>(random() % 300 + (same ? 0 : 120)) * 0.01;
    if (random() % 3 == 0) distance = std::nextafter(distance, random() % 2 ? 5.0 : 0.0);
    if (random() % 5 == 0) distance = static_cast<double>(random() % 4500) * 0.001;
    trials.all.push_back({.distance = distance, .same = same, .fold = fold[i]});
  }
  return trials;
}

TEST(EvalVerify, EqualsTheDefinition) {
  for (unsigned seed = 0; seed < 6; ++seed) expect_naive(random_trials(seed, 503, seed % 2 ? 10 : 3));
  // All equal, and all beyond the last threshold: the first of 400 equal maxima is threshold 0.
  for (double distance : {0.0, 1.0, 3.99, 4.0}) {
    Trials flat = random_trials(1, 40, 10);
    for (Trial& t : flat.all) t.distance = distance;
    expect_naive(flat);
  }
}

TEST(EvalVerify, ValAtFarEqualsTheDefinition) {
  // 9 folds of 18 to train on: targets on a step of the curve, between steps, and never reached.
  for (double target : {0.0, 1e-3, 0.05, 1.0 / 9, 0.5, 0.99, 1.0}) expect_naive_far(random_trials(3, 200, 10), target);
}

// Every distance lies on a threshold, and 90 different pairs to train on make FAR meet the targets: strictness shows.
TEST(EvalVerify, ValAtFarOnTheThresholds) {
  std::mt19937 random(5);
  Trials trials{.all = {}, .folds = 10, .xnorm = 0};
  for (int i = 0; i < 200; ++i) {
    trials.all.push_back({.distance = static_cast<double>(100 * (random() % 30)) * 0.001, .same = i % 2 == 0, .fold = i / 20});
  }
  for (int count : {0, 1, 3, 9, 10, 17, 45, 89, 90}) expect_naive_far(trials, count / 90.0);
}

TEST(EvalVerify, FoldsOfTheListWinOverContiguousOnes) {
  PairList list;
  std::vector<float> embeddings;
  for (int i = 0; i < 40; ++i) {
    list.images.push_back(std::to_string(i));
    embeddings.insert(embeddings.end(), {1, static_cast<float>(i)});
  }
  for (int i = 0; i < 20; ++i) list.pairs.push_back({.a = 2 * i, .b = 2 * i + 1, .same = i < 10, .fold = i % 2});
  EXPECT_EQ(verify(embeddings, 2, list).folds.size(), 10u);
  list.folds = 2;
  Verification v = verify(embeddings, 2, list);
  ASSERT_EQ(v.folds.size(), 2u);
  EXPECT_EQ(v.folds[0].pairs, 10);
}

TEST(EvalVerify, ZeroEmbeddingStaysZero) {
  PairList list = consecutive_pairs("zero", std::vector<bool>(10, true));
  std::vector<float> embeddings(20 * 2);
  embeddings[0] = 3, embeddings[1] = 4;  // against zero: squared distance 1
  Trials trials = compare(embeddings, 2, list);
  EXPECT_NEAR(trials.all[0].distance, 1, 1e-15);
  EXPECT_EQ(trials.all[1].distance, 0);
  EXPECT_NEAR(trials.xnorm, 5.0 / 20, 1e-15);
}

TEST(EvalVerify, BadInput) {
  PairList list = consecutive_pairs("list", std::vector<bool>(10, true));
  std::vector<float> good(40, 1.0f), nan = good;
  nan[7] = std::numeric_limits<float>::quiet_NaN();
  auto error_of = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(error_of([&] { compare(good, 3, list); }), "list: 40 numbers of embeddings, expected 20 images x 3");
  EXPECT_EQ(error_of([&] { compare(nan, 2, list); }), "list: embeddings of 3 has the value nan, expected finite numbers");
  EXPECT_EQ(error_of([&] { compare(good, 2, list, nan); }), "list: mirrored embeddings of 3 has the value nan, expected finite numbers");
  EXPECT_EQ(error_of([&] { val_at_far(compare(good, 2, list), 0.1); }), "fold 1 has 1 same and 0 different pairs, expected both");
  EXPECT_EQ(error_of([&] { val_at_far(compare(good, 2, list), -1); }), "a false accept rate of -1, expected 0 to 1");
  PairList few = consecutive_pairs("few", std::vector<bool>(9, true));
  EXPECT_EQ(error_of([&] { compare(std::span(good).first(36), 2, few); }),
            "9 pairs leave one of 10 folds empty, expected a pair in every fold");
  EXPECT_EQ(error_of([&] { verify(Trials{.all = {{.distance = 1, .same = true, .fold = 0}}, .folds = 1}); }),
            "1 folds, expected at least 2");
  list.pairs[3].b = 20;
  EXPECT_EQ(error_of([&] { compare(good, 2, list); }), "list: image 20 in a pair, expected 0 to 19");
  EXPECT_EQ(error_of([] { wilson(3, 2); }), "3 correct of 2, expected 0 <= correct <= total, total > 0");
}

TEST(EvalVerify, WilsonInterval) {
  // The ends solve |p - q| = z sqrt(q (1 - q) / n).
  for (auto [k, n] : {std::pair{5948, 6000}, {1, 3}}) {
    Interval interval = wilson(k, n);
    double p = double(k) / n;
    for (double q : {interval.low, interval.high}) EXPECT_NEAR(std::abs(p - q), 1.959963984540054 * std::sqrt(q * (1 - q) / n), 1e-12);
    EXPECT_TRUE(interval.low >= 0 && interval.low <= p && interval.high >= p && interval.high <= 1);
  }
  for (int n = 1; n < 200; ++n) {  // exactly, also where rounding says otherwise
    EXPECT_EQ(wilson(0, n).low, 0);
    EXPECT_EQ(wilson(n, n).high, 1);
  }
}

}  // namespace
}  // namespace vitrine::eval
