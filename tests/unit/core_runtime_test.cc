// Random numbers and parallel loops: the two things that could make a run depend on the machine.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>

#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "engine/core/rng.h"

namespace vitrine {
namespace {

using Block = std::array<uint32_t, 4>;

// Known-answer vectors of philox4x32-10 in Random123's kat_vectors.
TEST(CorePhilox, GivesThePublishedKnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CorePhilox, TheNthNumberOfAStreamIsThatOfItsCounter) {
  Philox rng(0x123456789abcdef0, 0xfedcba9876543210);
  for (uint32_t block = 0; block < 3; ++block)
    for (uint32_t word : philox({block, 0, 0x76543210, 0xfedcba98}, {0x9abcdef0, 0x12345678})) EXPECT_EQ(rng.next(), word);
  Philox pairs(7), words(7);
  uint64_t high = words.next(), low = words.next();
  EXPECT_EQ(pairs.next64(), high << 32 | low);
}

TEST(CorePhilox, SeedsAndStreamsAreDifferentSequences) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 20; ++seed)
    for (uint64_t stream = 0; stream < 20; ++stream) seen.insert(Philox(seed, stream).next64());
  EXPECT_EQ(seen.size(), 400u);
}

TEST(CorePhilox, UniformNormalAndBelowHaveTheirRangesAndMoments) {
  Philox rng(1);
  const int n = 100000;
  double sum = 0, normal = 0, square = 0;
  int counts[6] = {};
  for (int i = 0; i < n; ++i) {
    double u = rng.uniform(), z = rng.normal();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u, normal += z, square += z * z;
    uint64_t face = rng.below(6);
    ASSERT_LT(face, 6u);
    ++counts[face];
  }
  EXPECT_NEAR(sum / n, 0.5, 5 * 0.2887 / std::sqrt(n));
  EXPECT_NEAR(normal / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(square / n, 1, 5 * std::sqrt(2.0 / n));
  for (int c : counts) EXPECT_NEAR(c, n / 6.0, 5 * std::sqrt(n * 5 / 36.0));
  EXPECT_EQ(rng.below(1), 0u);
}

std::set<std::pair<int64_t, int64_t>> chunks(int64_t n, int64_t grain) {
  std::set<std::pair<int64_t, int64_t>> seen;
  std::mutex mutex;
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    std::lock_guard lock(mutex);
    EXPECT_TRUE(seen.emplace(begin, end).second) << "a chunk was run twice";
  });
  return seen;
}

class CoreParallel : public ::testing::Test {
 protected:
  void TearDown() override { set_threads(before); }
  int before = threads();
};

TEST_F(CoreParallel, ChunksDependOnTheRangeAndTheGrainAlone) {
  for (int64_t n : {0, 1, 7, 8, 9, 1000})
    for (int64_t grain : {1, 8, 5000}) {
      std::set<std::pair<int64_t, int64_t>> want;
      for (int64_t b = 0; b < n; b += grain) want.emplace(b, std::min(n, b + grain));
      for (int t : {1, 2, 5}) {
        set_threads(t);
        EXPECT_EQ(chunks(n, grain), want) << n << " by " << grain << " with " << t << " threads";
      }
    }
}

TEST_F(CoreParallel, AnExceptionOfAnyChunkReachesTheCaller) {
  for (int t : {1, 4}) {
    set_threads(t);
    EXPECT_THROW(parallel_for(100, 1, [](int64_t begin, int64_t) { CHECK(begin != 63, "chunk ", begin); }), Error) << t;
  }
  EXPECT_EQ(chunks(10, 1).size(), 10u) << "loops work afterwards";
}

TEST_F(CoreParallel, AfterAFailureNoFurtherChunkBegins) {
  for (int t : {1, 4}) {
    set_threads(t);
    std::atomic<int> begun = 0;
    EXPECT_THROW(parallel_chunks(1000,
                                 [&](int64_t c) {
                                   ++begun;
                                   throw Error(cat("chunk ", c));
                                 }),
                 Error);
    EXPECT_LE(begun, t);
  }
}

TEST_F(CoreParallel, ALoopInsideALoopRunsInItsThread) {
  set_threads(4);
  std::vector<int64_t> sums(16);
  parallel_for(16, 1, [&](int64_t i, int64_t) { parallel_for(10, 1, [&](int64_t k, int64_t) { sums[i] += k; }); });
  EXPECT_EQ(sums, std::vector<int64_t>(16, 45));
}

}  // namespace
}  // namespace vitrine
