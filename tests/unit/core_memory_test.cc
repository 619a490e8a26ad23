// Where blocks of memory lie.
#include <gtest/gtest.h>
#include <algorithm>

#include "engine/core/arena.h"
#include "engine/core/rng.h"
#include "engine/core/tensor.h"

namespace vitrine {
namespace {

TEST(CoreArena, FreeNeighboursBecomeOnePlace) {
  Arena a;
  for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(a.take(10), 10 * i);
  a.give(10, 10), a.give(30, 10);
  EXPECT_EQ(a.take(20), 50) << "no free place holds it";
  a.give(20, 10);  // joins both
  EXPECT_EQ(a.take(30), 10);
  EXPECT_EQ(a.end(), 70);
}

TEST(CoreArena, TheSmallestPlaceThatHoldsItIsTaken) {
  Arena a;
  for (int64_t size : {40, 1, 20, 1, 20, 1}) a.take(size);
  a.give(0, 40), a.give(41, 20), a.give(62, 20);
  EXPECT_EQ(a.take(15), 41) << "the first of equals";
  EXPECT_EQ(a.take(5), 56) << "what was left of it";
  EXPECT_EQ(a.take(30), 0);
}

TEST(CoreArena, AFreePlaceAtTheEndGrows) {
  Arena a;
  a.take(10), a.take(5);
  a.give(10, 5);
  EXPECT_EQ(a.take(50), 10);
  EXPECT_EQ(a.end(), 60);
}

TEST(CoreArena, BlocksNeverOverlapAndAllOfItComesBack) {
  Arena a;
  Philox rng(7);
  std::map<int64_t, int64_t> held;
  for (int i = 0; i < 20000; ++i) {
    if (!held.empty() && rng.below(100) < 48) {
      auto it = std::next(held.begin(), static_cast<int64_t>(rng.below(held.size())));
      a.give(it->first, it->second);
      held.erase(it);
      continue;
    }
    const int64_t size = 1 + static_cast<int64_t>(rng.below(50)), at = a.take(size);
    ASSERT_LE(at + size, a.end());
    auto next = held.lower_bound(at);
    ASSERT_TRUE(next == held.end() || at + size <= next->first);
    ASSERT_TRUE(next == held.begin() || std::prev(next)->first + std::prev(next)->second <= at);
    held[at] = size;
  }
  for (auto& [at, size] : held) a.give(at, size);
  EXPECT_EQ(a.take(a.end()), 0);
}

TEST(CoreMemory, LargeBlocksHoldWhatIsWrittenAndBecomeOthers) {
  constexpr int64_t kMillion = 1 << 20;
  auto fill = [](Tensor& t, float v) { std::fill_n(t.data<float>(), t.numel(), v); };
  std::vector<Tensor> four;
  for (int i = 0; i < 4; ++i) fill(four.emplace_back(Tensor::empty({{kMillion}, Dtype::f32, Device::cpu})), static_cast<float>(i));
  Tensor small = Tensor::empty({{3}, Dtype::f32, Device::cpu});
  fill(small, 9);
  four.erase(four.begin() + 1, four.begin() + 3);
  Tensor two = Tensor::empty({{2 * kMillion}, Dtype::f32, Device::cpu});
  fill(two, 7);
  EXPECT_EQ(four[0].values()[kMillion - 1], 0);
  EXPECT_EQ(four[1].values()[0], 3);
  EXPECT_EQ(small.values(), std::vector<double>(3, 9));
}

}  // namespace
}  // namespace vitrine
