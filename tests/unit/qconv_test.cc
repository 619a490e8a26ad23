// Integer convolution: the law of engine/cpu/qconv.h by hand, and every kernel against its plain loops, bit for bit.
#include "engine/cpu/qconv.h"

#include <gtest/gtest.h>

#include <array>

#include "engine/core/error.h"
#include "engine/cpu/qconv_reference.h"

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
  const int32_t far = 1 << 15;
  EXPECT_THROW(QWeights(s, 8, codes.data(), nullptr), Error);  // 255 * 127 * 70000 > 2^31
  EXPECT_THROW(QWeights(s, 9, codes.data(), nullptr), Error);
  EXPECT_THROW(QWeights(s, 7, codes.data(), nullptr), Error);
  std::fill(codes.begin(), codes.end(), 1);
  EXPECT_NO_THROW(QWeights(s, 2, codes.data(), nullptr));
  EXPECT_THROW(QWeights(s, 2, codes.data(), &far), Error);
}

}  // namespace
}  // namespace vitrine::cpu
