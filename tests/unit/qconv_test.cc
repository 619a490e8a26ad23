// Integer convolution: the law of engine/cpu/qconv.h by hand, and every kernel against its plain loops, bit for bit.
#include "engine/cpu/qconv.h"

#include <gtest/gtest.h>
#include <algorithm>

#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/qconv_reference.h"
#include "tests/unit/conv_testing.h"

namespace vitrine::cpu {
namespace {

TEST(QConv, LawByHand) {
  // One pixel of two inputs, two outputs. acc0 = (10-4)*(3+1) + (0-4)*(-128+1) = 24 + 508 = 532; acc1 = 6*(5-300) + -4*(-2-300) = -562.
  const ConvShape s{1, 1, 1, 2, 2, 1, 1, 1, 1};
  const std::array<int8_t, 4> codes{3, -128, 5, -2};
  const std::array<int32_t, 2> zero{1, -300};
  const std::array<uint8_t, 2> x{10, 0}, residual{7, 1};
  const std::array<float, 2> mult{0.5f, 0.25f}, add{-2, 0.5f}, slope{9, 0.5f}, post_mult{1, 2}, post_add{0.25f, 100};
  QEpilogue e{.mult = mult.data(), .add = add.data()};
  const QWeights w(s, 8, codes.data(), zero.data());
  std::array<float, 2> v{};
  qconv(s, w, x.data(), 4, e, v.data());
  EXPECT_EQ(v, (std::array<float, 2>{264, -140}));
  e.slope = slope.data();
  qconv(s, w, x.data(), 4, e, v.data());
  EXPECT_EQ(v, (std::array<float, 2>{264, -70}));
  e.residual = residual.data(), e.residual_zero = 3, e.residual_inv_scale = 1.5f;
  qconv(s, w, x.data(), 4, e, v.data());
  EXPECT_EQ(v, (std::array<float, 2>{270, -73}));
  e.post_mult = post_mult.data(), e.post_add = post_add.data();
  qconv(s, w, x.data(), 4, e, v.data());
  EXPECT_EQ(v, (std::array<float, 2>{270.25f, -46}));
  // Codes: 270.25 / 2 + 1 = 136.125; -46 / 2 + 1 = -22, below the grid. Second grid: 135 - 7.5 = 127.5 and -1 + 1.5 = 0.5: ties to even.
  const std::array<float, 2> second_mult{1, 1}, second_add{-7.5f, 1.5f};
  std::array<uint8_t, 2> y{}, second{};
  e.out_scale = 0.5f, e.out_zero = 1, e.out_max = 255;
  e.second = second.data(), e.second_mult = second_mult.data(), e.second_add = second_add.data(), e.second_scale = 1, e.second_max = 127;
  qconv(s, w, x.data(), 4, e, y.data());
  EXPECT_EQ(y, (std::array<uint8_t, 2>{136, 0}));
  EXPECT_EQ(second, (std::array<uint8_t, 2>{127, 0}));
}

TEST(QConv, PaddingAddsNothing) {
  const ConvShape s{.n = 1, .h = 1, .w = 1, .c = 1, .o = 1, .kh = 3, .kw = 3, .oh = 1, .ow = 1, .pad_h = 1, .pad_w = 1};
  const std::array<int8_t, 9> codes{1, 2, 3, 4, 5, 6, 7, 8, 9};
  const int32_t zero = 10;
  const uint8_t x = 23;
  const float one = 1, none = 0;
  float y = 0;
  qconv(s, QWeights(s, 5, codes.data(), &zero), &x, 20, {.mult = &one, .add = &none}, &y);
  EXPECT_EQ(y, 45);  // (23 - 20) * (5 + 10)
}

TEST(QConv, RefusesWeightsThatCannotBe) {
  const ConvShape s{.n = 1, .h = 1, .w = 1, .c = 70000, .o = 1, .kh = 1, .kw = 1, .oh = 1, .ow = 1};
  std::vector<int8_t> codes(70000, 127);
  const int32_t far = kQZeroLimit, within = kQZeroLimit - 1;
  const ConvShape one{.n = 1, .h = 1, .w = 1, .c = 1, .o = 1, .kh = 1, .kw = 1, .oh = 1, .ow = 1};
  EXPECT_THROW(QWeights(s, 8, codes.data(), nullptr), Error);  // 255 * 127 * 70000 > 2^31
  EXPECT_THROW(QWeights(s, 9, codes.data(), nullptr), Error);
  EXPECT_THROW(QWeights(s, 7, codes.data(), nullptr), Error);
  std::fill(codes.begin(), codes.end(), 1);
  EXPECT_NO_THROW(QWeights(s, 2, codes.data(), nullptr));
  EXPECT_THROW(QWeights(one, 2, codes.data(), &far), Error);
  EXPECT_NO_THROW(QWeights(one, 2, codes.data(), &within));
  EXPECT_THROW(QWeights(s, 2, codes.data(), &within), Error);  // 255 * 2^14 * 70000 > 2^31
}

// Layers of IResNet and MobileFaceNet, cut where the plain loops would take long, and shapes that fit no tile.
const std::vector<ConvShape>& layers() {
  static const std::vector<ConvShape> all = {
      shape(1, 21, 112, 3, 64, 3, 3, 1, 1),  // stem
      shape(1, 23, 96, 3, 64, 3, 3, 2, 1),
      shape(2, 14, 14, 64, 64, 3, 3, 1, 1),
      shape(1, 19, 28, 24, 40, 3, 3, 2, 1),
      shape(1, 27, 28, 64, 64, 1, 1, 2, 0),  // shortcut
      shape(2, 9, 9, 33, 65, 3, 3, 1, 1),    // pruned: nothing divides
      shape(3, 14, 14, 13, 31, 3, 3, 2, 1),
      shape(9, 7, 7, 32, 48, 3, 3, 1, 1),  // several images per block
      shape(3, 14, 12, 128, 64, 1, 1, 1, 0),
      shape(5, 7, 6, 51, 33, 1, 1, 1, 0),
      shape(1, 1, 1, 300, 70, 1, 1, 1, 0),  // products
      shape(33, 1, 1, 514, 47, 1, 1, 1, 0),
      shape(3, 7, 6, 24, 40, 7, 6, 1, 0),        // one output pixel per image
      shape(2, 19, 48, 64, 64, 3, 3, 1, 1, 64),  // depthwise
      shape(3, 15, 13, 90, 90, 3, 3, 2, 1, 90),
      shape(4, 7, 6, 50, 50, 7, 6, 1, 0, 50),
      shape(2, 5, 5, 20, 20, 1, 1, 1, 0, 20),
      shape(1, 14, 14, 24, 24, 5, 5, 1, 4, 24, 2),
      shape(1, 14, 14, 32, 32, 3, 3, 1, 1, 16),    // two channels per group
      shape(2, 9, 11, 24, 48, 3, 3, 1, 1, 24),     // depth multiplier 2
      shape(2, 12, 10, 20, 28, 3, 3, 1, 2, 4, 2),  // dilated groups
      shape(2, 12, 10, 20, 28, 3, 3, 1, 2, 1, 2),  // dilated
      shape(2, 6, 6, 16, 72, 1, 1, 1, 0, 2),
      shape(2, 6, 6, 8, 8, 1, 1, 2, 1),
      shape(2, 5, 5, 8, 8, 3, 3, 3, 4),                   // padding beyond the kernel, stride that leaves gaps
      shape(1, 9, 9, 18, 20, 2, 2, 4, 0),                 // pixels that no output sees
      {2, 9, 14, 12, 20, 3, 5, 5, 12, 2, 1, 1, 3, 1, 2},  // no two axes alike
      {2, 9, 14, 12, 12, 2, 3, 8, 5, 1, 3, 0, 1, 1, 1, 12},
      shape(0, 7, 7, 16, 16, 3, 3, 1, 1),  // empty batch
      shape(0, 1, 1, 16, 16, 1, 1, 1, 0),
  };
  return all;
}

// Everything a call needs, random, in buffers of exactly its size, so that the address sanitizer sees what is read beyond them.
struct Problem {
  ConvShape s;
  int bits;
  std::vector<int8_t> codes;
  std::vector<int32_t> zero;
  std::vector<uint8_t> x, residual;
  std::vector<std::vector<float>> vectors;  // mult, add, slope, post_mult, post_add, second_mult, second_add
  int32_t x_zero;

  // spread: how far zeros lie apart. Every eighth code is an extreme one.
  Problem(const ConvShape& shape, int weight_bits, int spread, uint64_t seed) : s(shape), bits(weight_bits) {
    Philox rng(seed);
    auto below = [&](int64_t n) { return static_cast<int64_t>(rng.uniform() * static_cast<double>(n)); };
    const int half = 1 << (bits - 1);
    auto code = [&](int64_t low, int64_t high) { return below(8) ? low + below(high - low + 1) : below(2) ? low : high; };
    for (int64_t i = 0; i < s.w_numel(); ++i) codes.push_back(static_cast<int8_t>(code(-half, half - 1)));
    for (int64_t i = 0; i < s.o; ++i) zero.push_back(static_cast<int32_t>(below(2 * spread + 1)) - spread);
    for (int64_t i = 0; i < s.x_numel(); ++i) x.push_back(static_cast<uint8_t>(code(0, 255)));
    for (int64_t i = 0; i < s.y_numel(); ++i) residual.push_back(static_cast<uint8_t>(code(0, 255)));
    x_zero = static_cast<int32_t>(code(0, 255));
    const double depth = std::sqrt(static_cast<double>(s.kh * s.kw * s.group_in()));
    for (double size : {1 / (depth * half * 100), 0.5, 0.5, 1.0, 0.5, 1.5, 0.5}) {
      auto& v = vectors.emplace_back();
      for (int64_t i = 0; i < s.o; ++i) v.push_back(static_cast<float>(rng.normal() * size));
    }
    if (s.o > 1) vectors[1][s.o / 2] = std::numeric_limits<float>::quiet_NaN(), vectors[1][s.o - 1] = 1e30f;
  }

  // `steps`: which of the optional ones are taken.
  QEpilogue epilogue(unsigned steps, std::vector<uint8_t>& second) const {
    QEpilogue e{.mult = vectors[0].data(), .add = vectors[1].data(), .out_scale = 60.5f, .out_zero = 131, .out_max = steps & 1 ? 255 : 63};
    if (steps & 1) e.slope = vectors[2].data();
    if (steps & 2) e.residual = residual.data(), e.residual_zero = 120, e.residual_inv_scale = 0.01f;
    if (steps & 4) e.post_mult = vectors[3].data(), e.post_add = vectors[4].data();
    if (steps & 8) {
      e.second = second.data(), e.second_mult = vectors[5].data(), e.second_add = vectors[6].data();
      e.second_scale = 0.7f, e.second_zero = 31, e.second_max = 127;
    }
    return e;
  }
};

class QConvKernels : public ::testing::Test {
 protected:
  void TearDown() override { set_isa(before_isa_), set_threads(before_threads_); }

  // Each kernel against the plain loops, with the steps of the epilogue that `steps` says.
  static void compare(const Problem& p, unsigned steps) {
    const auto size = static_cast<size_t>(p.s.y_numel());
    std::vector<uint8_t> want(size, 99), want_second(size, 98);
    std::vector<float> want_values(size);
    QEpilogue e = p.epilogue(steps, want_second);
    reference::qconv(p.s, p.codes.data(), p.zero.data(), p.x.data(), p.x_zero, e, want.data());
    reference::qconv(p.s, p.codes.data(), p.zero.data(), p.x.data(), p.x_zero, e, want_values.data());
    const QWeights w(p.s, p.bits, p.codes.data(), p.zero.data());
    for (Isa level : {Isa::plain, Isa::avx2, Isa::avx512, Isa::vnni})
      for (int count : {1, 3}) {
        if (level > best_isa()) continue;
        set_isa(level), set_threads(count);
        SCOPED_TRACE(cat(name(level), ", ", count, " threads, steps ", steps));
        std::vector<uint8_t> got(size, 97), got_second(size, 98);
        std::vector<float> values(size);
        e = p.epilogue(steps, got_second);
        qconv(p.s, w, p.x.data(), p.x_zero, e, got.data());
        qconv(p.s, w, p.x.data(), p.x_zero, e, values.data());
        EXPECT_EQ(got, want);
        EXPECT_EQ(got_second, want_second);
        int64_t differ = 0;
        for (size_t i = 0; i < size; ++i)
          differ += std::memcmp(&values[i], &want_values[i], 4) && !(std::isnan(values[i]) && std::isnan(want_values[i]));
        EXPECT_EQ(differ, 0) << "of the values";
      }
  }
  Isa before_isa_ = isa();
  int before_threads_ = threads();
};

TEST_F(QConvKernels, EqualThePlainLoopsOnEveryInstructionSetAndForAnyNumberOfThreads) {
  unsigned steps = 0;
  for (const ConvShape& s : layers()) {
    SCOPED_TRACE(str(s));
    compare(Problem(s, 8, 0, steps + 1), steps % 16);          // zeros are 0
    compare(Problem(s, 8, 200, steps + 2), (steps + 7) % 16);  // code and zero leave s8
    compare(Problem(s, 6, 40, steps + 3), (steps + 2) % 16);   // code and zero fit into s8
    ++steps;
  }
}

TEST_F(QConvKernels, LargeMatricesOfFewBits) {
  for (int bits = 2; bits <= 8; ++bits) {
    SCOPED_TRACE(bits);
    compare(Problem(shape(1, 1, 1, 13120, 83, 1, 1, 1, 0), bits, 5, 1), 1);
    compare(Problem(shape(3, 1, 1, 13120, 83, 1, 1, 1, 0), bits, 5, 2), 2);
  }
  compare(Problem(shape(1, 3, 2, 1024, 1030, 1, 1, 2, 1), 6, 5, 3), 3);
}

TEST_F(QConvKernels, EveryCombinationOfSteps) {
  for (unsigned steps = 0; steps < 16; ++steps) compare(Problem(shape(1, 5, 5, 8, 35, 3, 3, 1, 1), 8, 9, steps), steps);
}

TEST_F(QConvKernels, SumsAtTheEndsOfTheirRange) {
  const ConvShape s = shape(1, 4, 4, 512, 17, 3, 3, 1, 1);
  Problem p(s, 8, 0, 1);
  for (auto [x, q, zero, x_zero] : {std::array{255, 127, 255, 0}, {0, 127, 255, 255}, {255, -128, -255, 0}, {0, -128, -255, 255}}) {
    std::fill(p.x.begin(), p.x.end(), static_cast<uint8_t>(x));
    std::fill(p.codes.begin(), p.codes.end(), static_cast<int8_t>(q));
    std::fill(p.zero.begin(), p.zero.end(), zero);
    p.x_zero = x_zero;
    compare(p, 0);
  }
}

}  // namespace
}  // namespace vitrine::cpu
