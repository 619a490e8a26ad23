// The loader: order and contents for any number of workers, errors at their step, shutdown at any moment.
#include "data/loader.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

constexpr Preprocess kSmall{.height = 8, .width = 6};

MemorySet small_set(int64_t n) {
  std::vector<Image> images;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < n; ++i) images.push_back(gradient(8, 10, int(i))), labels.push_back(i / 2);
  return {images, labels};
}

// Image 5 cannot be decoded; the others take varying times, so that workers overtake each other.
struct Moody : MemorySet {
  using MemorySet::MemorySet;
  Image image(int64_t i) const override {
    std::this_thread::sleep_for(std::chrono::microseconds(i * 37 % 11 * 20));
    CHECK(i != 5, "broken");
    return MemorySet::image(i);
  }
};

TEST(DataLoader, BatchesComeInOrderWithTheSameContentsForAnyNumberOfWorkers) {
  const MemorySet set = small_set(50);
  const Batches batches = shuffled_batches(50, 8, 1, 0, true, false);  // the last has 2
  for (const int workers : {1, 2, 4})
    for (const int prefetch : {1, 3}) {
      Loader loader(set, batches, {kSmall, workers, prefetch});
      EXPECT_EQ(loader.steps(), 7);
      Batch batch;
      for (int64_t step = 0; step < 7; ++step) {
        ASSERT_TRUE(loader.next(batch));
        ASSERT_EQ(batch.step, step);
        ASSERT_EQ(batch.n, int64_t(batches[step].size()));
        ASSERT_EQ(batch.labels.size(), batches[step].size());
        ASSERT_EQ(batch.places.size(), 4 * batches[step].size());
        for (size_t i = 0; i < batches[step].size(); ++i) {
          const Sample& sample = batches[step][i];
          const int64_t* place = &batch.places[4 * i];
          ASSERT_EQ(place[0], int64_t(i) * 8 * 10 * 3);
          EXPECT_EQ((std::vector<int64_t>{place[1], place[2], place[3]}), (std::vector<int64_t>{8, 10, sample.flip}));
          EXPECT_EQ(std::vector<uint8_t>(&batch.bytes[place[0]], &batch.bytes[place[0]] + 240), set.image(sample.index).pixels);
          EXPECT_EQ(batch.labels[i], sample.index / 2);
        }
      }
      EXPECT_FALSE(loader.next(batch));
      EXPECT_FALSE(loader.next(batch));
    }
}

TEST(DataLoader, OvertakingWorkersStillDeliverInOrderThroughACache) {
  const MemorySet memory = small_set(5);
  const Moody set({memory.image(0), memory.image(1), memory.image(2), memory.image(3), memory.image(4)}, {0, 1, 2, 3, 4});
  const CachedSet cached(set, 1 << 20);
  Batches batches;
  for (int64_t step = 0; step < 40; ++step) batches.push_back({{step % 5, false}, {step * 3 % 5, true}});
  Loader loader(cached, batches, {kSmall, 4, 6});
  Batch batch;
  for (int64_t step = 0; step < 40; ++step) {
    ASSERT_TRUE(loader.next(batch));
    ASSERT_EQ(batch.step, step);
    ASSERT_EQ(batch.labels, (std::vector<int64_t>{step % 5, step * 3 % 5}));
  }
}

TEST(DataLoader, AnUnreadableImageIsAnErrorAtItsStepWithItsName) {
  const MemorySet memory = small_set(6);
  std::vector<Image> images;
  for (int i = 0; i < 6; ++i) images.push_back(memory.image(i));
  const Moody set(images, {0, 0, 0, 0, 0, 0});
  for (const int workers : {1, 2, 4}) {
    Loader loader(set, {{{0, false}}, {{1, false}}, {{2, false}, {5, true}}, {{3, false}}}, {kSmall, workers, 4});
    Batch batch;
    EXPECT_TRUE(loader.next(batch));
    EXPECT_TRUE(loader.next(batch));
    for (int again = 0; again < 2; ++again) EXPECT_EQ(error_of([&] { loader.next(batch); }), "step 2, image 5: broken");
  }
}

TEST(DataLoader, TooSmallImagesAndBadRequestsAreErrors) {
  const MemorySet set = small_set(3);
  Loader loader(set, {{{1, false}}}, {.preprocess = {}});
  Batch batch;
  EXPECT_NE(error_of([&] { loader.next(batch); }).find("step 0, image 1: image of 8x10 is smaller"), std::string::npos);
  EXPECT_EQ(error_of([&] { Loader(set, {{{0, false}}, {{3, false}}}); }), "step 1: image 3 of a set of 3");
  EXPECT_NE(error_of([&] { Loader(set, {{{-1, false}}}); }), "");
  EXPECT_NE(error_of([&] { Loader(set, {}, {.workers = 0}); }), "");
  EXPECT_NE(error_of([&] { Loader(set, {}, {.prefetch = 0}); }), "");
  Loader none(set, {});
  EXPECT_FALSE(none.next(batch));
}

TEST(DataLoader, CanBeDestroyedAtAnyMoment) {
  const MemorySet memory = small_set(5);
  const Moody set({memory.image(0), memory.image(1), memory.image(2), memory.image(3), memory.image(4)}, {0, 1, 2, 3, 4});
  for (int taken = 0; taken < 20; ++taken) {
    Loader loader(set, Batches(20, {{1, false}, {3, true}, {4, false}}), {kSmall, 1 + taken % 4, 1 + taken % 3});
    Batch batch;
    for (int i = 0; i < taken; ++i) ASSERT_TRUE(loader.next(batch));
  }
}

}  // namespace
}  // namespace vitrine::data
