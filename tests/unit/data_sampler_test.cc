// Epochs: what is drawn, how often, and that it depends on (seed, epoch) alone.
#include "data/sampler.h"

#include <gtest/gtest.h>
#include <algorithm>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

double flipped_share(const Batches& batches) {
  int64_t flips = 0, all = 0;
  for (const auto& step : batches)
    for (const Sample& sample : step) flips += sample.flip, ++all;
  return double(flips) / double(all);
}

TEST(DataSampler, ShuffledEpochsVisitEveryImageOnce) {
  for (const bool drop_last : {true, false}) {
    const Batches batches = shuffled_batches(1003, 64, 7, 0, true, drop_last);
    EXPECT_EQ(batches.size(), drop_last ? 15u : 16u);
    EXPECT_EQ(batches.back().size(), drop_last ? 64u : 43u);
    std::set<int64_t> seen;
    for (const auto& step : batches)
      for (const Sample& sample : step) EXPECT_TRUE(seen.insert(sample.index).second);
    EXPECT_EQ(seen.size(), drop_last ? 960u : 1003u);
    EXPECT_TRUE(*seen.begin() >= 0 && *seen.rbegin() < 1003);
    EXPECT_NEAR(flipped_share(batches), 0.5, 0.06);
  }
  EXPECT_EQ(flipped_share(shuffled_batches(640, 64, 7, 0, false)), 0);
  EXPECT_EQ(shuffled_batches(10, 64, 1, 0, true, false).size(), 1u);
}

TEST(DataSampler, OrderIsAFunctionOfSeedAndEpoch) {
  const std::vector<int64_t> labels(500, 1);
  EXPECT_EQ(shuffled_batches(500, 32, 1, 2), shuffled_batches(500, 32, 1, 2));
  EXPECT_NE(shuffled_batches(500, 32, 1, 2), shuffled_batches(500, 32, 1, 3));
  EXPECT_NE(shuffled_batches(500, 32, 1, 2), shuffled_batches(500, 32, 2, 2));
  EXPECT_EQ(balanced_batches(labels, 1, 2), balanced_batches(labels, 1, 2));
  EXPECT_NE(balanced_batches(labels, 1, 2), balanced_batches(labels, 1, 3));
  EXPECT_NE(balanced_batches(labels, 1, 2), balanced_batches(labels, 2, 2));
}

// An order must be the same on every machine and after every refactoring. The literals come from a second implementation, of Philox
// and of the draws, in Python; they may change only with a decision.
TEST(DataSampler, FirstDrawsNeverChange) {
  const auto recorded = [](const std::vector<Sample>& step) {  // as read_batches would read them
    std::vector<int64_t> values;
    for (const Sample& s : step) values.push_back(s.flip ? -s.index - 1 : s.index);
    return values;
  };
  const auto shuffled = recorded(shuffled_batches(1000, 6, 1, 0)[0]);
  const auto balanced = recorded(balanced_batches({0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3}, 1, 0, {2, 2, 4})[0]);
  EXPECT_EQ(shuffled, (std::vector<int64_t>{-491, -32, 866, 186, -979, 139}));
  EXPECT_EQ(balanced, (std::vector<int64_t>{4, 2, -4, 4, 5, -4, -1, 0, -1, 0}));
  EXPECT_EQ(subset(20, 0.3, 1), (std::vector<int64_t>{2, 6, 14, 16, 18, 19}));
}

// A set like LFW: 13,233 images, most identities with a single one.
std::vector<int64_t> lfw_like_labels() {
  std::vector<int64_t> labels;
  for (int64_t id = 0; labels.size() < 13233; ++id) labels.insert(labels.end(), id % 10 < 7 ? 1 : 2 + id % 10 * (id % 3), id * 3);
  labels.resize(13233);
  return labels;
}

TEST(DataSampler, BalancedStepsHaveGeneralAndBalancedParts) {
  const auto labels = lfw_like_labels();
  std::map<int64_t, std::vector<int64_t>> members;
  for (size_t i = 0; i < labels.size(); ++i) members[labels[i]].push_back(int64_t(i));
  const Batches batches = balanced_batches(labels, 3, 1);
  ASSERT_EQ(batches.size(), 413u);
  std::set<int64_t> general, drawn;
  for (const auto& step : batches) {
    ASSERT_EQ(step.size(), 64u);
    for (int i = 0; i < 32; ++i) ASSERT_TRUE(general.insert(step[i].index).second);  // without replacement over the epoch
    for (int k = 32; k < 64; k += 4) {
      std::vector<int64_t> four;
      for (int i = 0; i < 4; ++i) four.push_back(step[k + i].index);
      const int64_t label = labels[four[0]];
      const auto& group = members.at(label);
      drawn.insert(label);
      for (const int64_t i : four) ASSERT_EQ(labels[i], label);
      switch (group.size()) {
        case 1:
          ASSERT_EQ(four, (std::vector{group[0], group[0], group[0], group[0]}));
          break;
        case 2:
          ASSERT_EQ(four, (std::vector{group[0], group[1], group[0], group[1]}));
          break;
        case 3:
          ASSERT_EQ(four, (std::vector{group[0], group[1], group[2], group[0]}));
          break;
        default:
          ASSERT_EQ(std::set(four.begin(), four.end()).size(), 4u);
      }
    }
    int positives = 0;
    for (int i = 0; i < 64; ++i)
      for (int j = i + 1; j < 64; ++j) positives += labels[step[i].index] == labels[step[j].index];
    ASSERT_GE(positives, 48);
  }
  EXPECT_NEAR(flipped_share(batches), 0.5, 0.02);
  // 413 * 8 uniform draws with replacement miss a given label with probability exp(-3304 / labels).
  const double expected = double(members.size()) * (1 - std::exp(-3304.0 / double(members.size())));
  EXPECT_NEAR(double(drawn.size()), expected, 0.03 * expected);
}

TEST(DataSampler, BalancedImagesOfLargeIdentitiesAreDrawnUniformly) {
  std::vector<int> count(10);
  for (uint64_t epoch = 0; epoch < 400; ++epoch)
    for (const auto& step : balanced_batches(std::vector<int64_t>(10, 5), 1, epoch, {2, 1, 4}))
      for (size_t i = 2; i < step.size(); ++i) ++count[step[i].index];
  for (const int c : count) EXPECT_NEAR(c, 800, 110);  // 2000 steps x 4 of 10; 5 standard deviations
}

TEST(DataSampler, SenselessRequestsAreErrors) {
  EXPECT_NE(error_of([] { shuffled_batches(10, 0, 1, 0); }), "");
  EXPECT_NE(error_of([] { shuffled_batches(0, 1, 1, 0, true, false); }), "");
  EXPECT_NE(error_of([] { shuffled_batches(10, 11, 1, 0); }), "");
  EXPECT_EQ(error_of([] { balanced_batches(std::vector<int64_t>(31), 1, 0); }),
            "a set of 31 images has no full batch: 32 of each are drawn from all, expected as many images or a smaller --batch");
  EXPECT_NE(error_of([] { balanced_batches({0, 1}, 1, 0, {1, 0, 4}); }), "");
  for (const double fraction : {0.0, -0.5, 1.01, std::numeric_limits<double>::quiet_NaN(), 0.05})
    EXPECT_NE(error_of([&] { subset(10, fraction, 1); }), "") << fraction;
}

TEST(DataSampler, SubsetsHaveThePapersSizesAndNest) {
  EXPECT_EQ(subset(13233, 0.75, 1).size(), 9924u);
  EXPECT_EQ(subset(13233, 0.5, 1).size(), 6616u);
  const auto quarter = subset(13233, 0.25, 1), half = subset(13233, 0.5, 1), all = subset(100, 1.0, 1);
  EXPECT_EQ(quarter.size(), 3308u);
  EXPECT_TRUE(std::includes(half.begin(), half.end(), quarter.begin(), quarter.end()));
  EXPECT_TRUE(std::adjacent_find(half.begin(), half.end(), std::greater_equal<>()) == half.end());  // ascending, distinct
  EXPECT_EQ(all.size(), 100u);
  EXPECT_NE(quarter, subset(13233, 0.25, 2));
}

TEST(DataSampler, RecordedBatchesAreReadAndDamageIsNamed) {
  const Scratch scratch;
  EXPECT_EQ(read_batches(scratch.write("good", "0 -1 9\r\n-10\n"), 10), (Batches{{{0, false}, {0, true}, {9, false}}, {{9, true}}}));
  const auto error = [&](const std::string& text) { return error_of([&] { read_batches(scratch.write("bad", text), 10); }); };
  EXPECT_NE(error("1 2\n3 10\n").find("bad:2: field 2 is '10', image 10 of a set of 10"), std::string::npos);
  EXPECT_NE(error("-11\n").find("bad:1: field 1 is '-11', image 10"), std::string::npos);
  EXPECT_NE(error("-9223372036854775808\n").find("bad:1"), std::string::npos);
  EXPECT_NE(error("9223372036854775808\n").find("a number expected"), std::string::npos);
  EXPECT_NE(error("1 2.5\n").find("field 2 is '2.5', a number expected"), std::string::npos);
  EXPECT_LT(error(std::string(5000, '0') + "99\n").size(), 500u);  // fields in messages are cut
  EXPECT_LT(error(std::string(5000, 'x') + "\n").size(), 500u);
  EXPECT_NE(error("1\n\n2\n").find("bad:2: empty line"), std::string::npos);
  EXPECT_NE(error("").find("bad: empty"), std::string::npos);
  EXPECT_NE(error_of([&] { read_batches(scratch / "none", 10); }).find("cannot be opened"), std::string::npos);
}

}  // namespace
}  // namespace vitrine::data
