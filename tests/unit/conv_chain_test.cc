// When a chain of convolutions is run by strips. Its bits: tests/cases/conv2d_chain.cc, Fuse.StripsOfAChainHaveTheBitsOfItsLinks.
#include "engine/cpu/conv_chain.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/core/parallel.h"
#include "engine/cpu/isa.h"
#include "tests/unit/conv_testing.h"

namespace vitrine::cpu {
namespace {

// An inverted bottleneck on zeros, and whether strips were taken; what they leave alone stays NaN.
struct Bottleneck {
  std::vector<float> x, w, y;
  std::vector<FusedConv<float>> links;
  Bottleneck(int64_t n, int64_t side, int64_t c, int64_t mid) : x(n * side * side * c), w(32 * 1024 * 16), y(x.size(), NAN) {
    for (const ConvShape& s : {shape(n, side, side, c, mid, 1, 1, 1, 0), shape(n, side, side, mid, mid, 3, 3, 1, 1, mid),
                               shape(n, side, side, mid, c, 1, 1, 1, 0)}) {
      links.push_back({s, false, nullptr, {}, w.data(), {}, nullptr});
      links.back().finish.affine.shift = w.data();
    }
    links.front().x = x.data();
    links.back().y = y.data(), links.back().finish.y = y.data();
  }
  bool by_strips() {
    const bool taken = conv2d_chain(links);
    for (const float v : y) EXPECT_EQ(std::isnan(v), !taken);
    return taken;
  }
};

TEST(ConvChain, StripsAreTakenWhereFewRowsAreComputedTwice) {
  if (isa() == Isa::plain) GTEST_SKIP() << "no fast kernels here";
  const int before = threads();
  for (int count : {1, 2, 4}) {
    set_threads(count);
    EXPECT_TRUE(Bottleneck(1, 28, 64, 128).by_strips()) << count << " threads";
    EXPECT_TRUE(Bottleneck(4, 14, 128, 256).by_strips()) << count << " threads";
  }
  set_threads(64);
  EXPECT_FALSE(Bottleneck(1, 14, 128, 256).by_strips()) << "a row for each thread would cost three";
  EXPECT_TRUE(Bottleneck(64, 14, 128, 256).by_strips()) << "an image for each";
  set_threads(before);
}

}  // namespace
}  // namespace vitrine::cpu
