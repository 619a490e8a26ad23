// The QuantFace fake-quantizer against numbers from the published code, bit for bit. Expected values are f32: decimals that identify one,
// or level / scale where the published number was rounded.
#include <gtest/gtest.h>
#include <algorithm>

#include <limits>
#include <set>

#include "engine/core/rng.h"
#include "engine/ops.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/observe.h"

namespace vitrine::quant {
namespace {

using Floats = std::vector<float>;

Tensor list(const Floats& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v); }
Floats quantized(const Floats& x, float lo, float hi, int64_t bits) { return fake_quant(list(x), list({lo, hi}), bits).values<float>(); }
Floats codes(const Floats& x, float lo, float hi, int64_t bits) {
  Floats q;
  for (float v : x) q.push_back(quantize_code(v, quant_params(lo, hi, bits)));
  return q;
}

TEST(FakeQuant, SixBitsGiveThePublishedCodesAndValues) {
  Floats x{-5, -1, -0.51f, -0.02f, 0, 0.02f, 0.024f, 0.5f, 1.99f, 2, 7};
  EXPECT_EQ(quant_params(-1, 2, 6).scale, 21);
  EXPECT_EQ(quant_params(-1, 2, 6).zp, 11);
  EXPECT_EQ(codes(x, -1, 2, 6), Floats({-32, -32, -22, -11, -11, -11, -10, 0, 31, 31, 31}));
  EXPECT_EQ(quantized(x, -1, 2, 6), Floats({-1, -1, -11 / 21.f, 0, 0, 0, 1 / 21.f, 11 / 21.f, 2, 2, 2}));
}

TEST(FakeQuant, EightBitsGiveThePublishedValues) {
  EXPECT_EQ(quant_params(-1, 2, 8).scale, 85);
  EXPECT_EQ(quant_params(-1, 2, 8).zp, 43);
  EXPECT_EQ(quantized({-0.51f, 0.5f, 0, -5, 7}, -1, 2, 8), Floats({-0.50588238f, 0.50588238f, 0, -1, 2}));
}

TEST(FakeQuant, TiesAreRoundedAfterTheZeroPointIsTakenAway) {
  EXPECT_EQ(quant_params(0, 63, 6).zp, 32);
  EXPECT_EQ(quantized({0.5f, 1.5f, 2.5f, 3.5f, 62.5f}, 0, 63, 6), Floats({0, 2, 2, 4, 62}));
  EXPECT_EQ(quant_params(-1, 62, 6).zp, 31);
  EXPECT_EQ(quantized({-0.5f, 0.5f, 1.5f, 2.5f}, -1, 62, 6), Floats({-1, 1, 1, 3}));
}

TEST(FakeQuant, TheCodebookIsShiftedByUpToHalfAStep) {
  EXPECT_EQ(quant_params(-0.3f, 1, 6).scale, 48.46154f);
  EXPECT_EQ(quant_params(-0.3f, 1, 6).zp, 17);
  EXPECT_EQ(quantized({-0.3f, 1}, -0.3f, 1, 6), Floats({-0.30952379f, 0.99047613f}));
}

TEST(FakeQuant, ARangeWithoutZeroCannotRepresentZero) {
  EXPECT_EQ(quant_params(0.2f, 0.3f, 6).scale, 629.99994f);
  EXPECT_EQ(quant_params(0.2f, 0.3f, 6).zp, 158);
  EXPECT_EQ(quantized({0.25f, 0}, 0.2f, 0.3f, 6), Floats({0.24920638f, 0.20000002f}));
}

TEST(FakeQuant, ConstantTensorsStayAndAnUncalibratedRangeKillsTheSignal) {
  for (auto [c, y] : {std::pair{0.1f, 0.1000000164f}, {0.f, 0.f}, {1.f, 1.f}, {-0.37f, -0.3700000048f}}) {
    EXPECT_EQ(quantized({c, c}, c, c, 6), Floats({y, y})) << c;
    EXPECT_EQ(fake_quant_weight(list({c, c, c}), 6, false).values<float>(), Floats({y, y, y})) << c;
  }
  for (float y : quantized({-3, -1e-9f, 0, 0.5f, 3}, 0, 0, 6)) {
    EXPECT_GE(y, 0);
    EXPECT_LE(y, 1.01e-8f);
  }
}

TEST(FakeQuant, ErrorIsHalfAStepLevelsAreCountedAndQuantizingTwiceChangesNothing) {
  Philox rng(5);
  for (int64_t bits : {2, 3, 6, 8, 12, 16})
    for (int trial = 0; trial < 8; ++trial) {
      float lo = static_cast<float>(-3 * rng.uniform()), hi = static_cast<float>(lo + 0.1 + 4 * rng.uniform());
      Floats x;
      for (int i = 0; i < 3000; ++i) x.push_back(std::clamp(static_cast<float>(lo + (hi - lo) * i / 2999.0), lo, hi));
      Floats y = quantized(x, lo, hi, bits);
      double bound = 0.5 / quant_params(lo, hi, bits).scale * (1 + 1e-5) + 0x1p-22 * std::max(std::abs(lo), std::abs(hi));
      for (size_t i = 0; i < x.size(); ++i)
        ASSERT_LE(std::abs(y[i] - x[i]), bound) << bits << " bits, " << x[i] << " in " << lo << ".." << hi;
      EXPECT_LE(std::set<float>(y.begin(), y.end()).size(), size_t{1} << bits);
      EXPECT_EQ(quantized(y, lo, hi, bits), y) << bits << " bits, " << lo << ".." << hi;
    }
}

TEST(FakeQuant, TheFastLoopsGiveTheCodesOfTheDefinition) {
  Philox rng(6);
  for (int64_t bits : {2, 6, 8, 16}) {
    float lo = -0.7f, hi = 1.9f;
    QuantParams p = quant_params(lo, hi, bits);
    Floats x, want;
    for (int i = 0; i < 5000; ++i) x.push_back(static_cast<float>(6 * rng.uniform() - 3));
    for (int k = 0; k < 200; ++k) x.push_back((static_cast<float>(k) - 100.5f + p.zp) / p.scale);  // next to the ties
    x.insert(x.end(), {1e30f, -1e30f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), -0.f});
    for (float v : x) want.push_back(dequantize(quantize_code(v, p), p));
    EXPECT_EQ(quantized(x, lo, hi, bits), want) << bits;
    std::vector<double> want_wide;
    const auto wide = quant_params_of<double>(lo, hi, bits);
    for (float v : x) want_wide.push_back(dequantize(quantize_code<double>(v, wide), wide));
    EXPECT_EQ(fake_quant(list(x).to(Dtype::f64), list({lo, hi}).to(Dtype::f64), bits).values<double>(), want_wide)
        << bits << " bits of f64";
  }
}

TEST(FakeQuantWeight, EveryOutputChannelHasItsOwnRange) {
  Tensor w = Tensor::from({2, 1, 2, 2}, Floats{-1, 0, 0.5f, 2, 0.1f, 0.2f, 0.35f, 0.4f});
  EXPECT_EQ(fake_quant_weight(w, 6, true).values<float>(), Floats({-1, 0, 11 / 21.f, 2, 0.1f, 0.2f, 0.34761906f, 0.4f}));
  EXPECT_EQ(fake_quant_weight(w.view({2, 4}), 6, true).values<float>(), fake_quant_weight(w, 6, true).values<float>())
      << "a matrix's rows alike";
  EXPECT_EQ(fake_quant_weight(w, 6, false).values<float>(), quantized(w.values<float>(), -1, 2, 6));
}

// Also where it shows that the published scale is n * (1 / range) and not n / range: 210, not 209.99998.
TEST(FakeQuantWeight, SlopesShareOneRange) {
  EXPECT_EQ(quant_params(0.1f, 0.4f, 6).scale, 210);
  EXPECT_EQ(quant_params(0.1f, 0.4f, 6).zp, 53);
  EXPECT_EQ(fake_quant_weight(list({0.1f, 0.25f, 0.4f}), 6, false).values<float>(), Floats({0.1f, 0.25238097f, 0.4f}));
  EXPECT_EQ(quant_params(-0.05f, 0.4f, 6).zp, 25);
  EXPECT_EQ(fake_quant_weight(list({-0.05f, 0.11f, 0.25f, 0.4f}), 6, false).values<float>(),
            Floats({-0.050000004f, 0.107142866f, 0.25000003f, 0.40000004f}));
}

TEST(FakeQuant, TheGradientPassesStraightThroughAlsoOutsideTheRange) {
  Tensor x = list({-10, 0.3f, 50}).set_requires_grad(), r = list({-1, 2}).set_requires_grad();
  Tensor y = fake_quant(x, r, 6);
  EXPECT_EQ(y.values<float>(), Floats({-1, 0.2857143f, 2}));
  Tensors g = grad(sum(y), {x, r});
  EXPECT_EQ(g[0].values<float>(), Floats({1, 1, 1}));
  EXPECT_FALSE(g[1]) << "a gradient reached the range";
}

TEST(FakeQuantWeight, PReluSeesQuantizedSlopesAndTheLatentOnesGetTheWholeGradient) {
  Tensor slope = list({0.1f, 0.25f, 0.4f}).set_requires_grad();
  Tensor x = Tensor::from({2, 3}, Floats{-1, -2, 3, 4, -5, -6}).set_requires_grad();
  Tensors g = grad(sum(prelu(x, fake_quant_weight(slope, 6, false))), {x, slope});
  EXPECT_EQ(g[0].values<float>(), Floats({0.1f, 0.25238097f, 1, 1, 0.25238097f, 0.4f}));
  EXPECT_EQ(g[1].values<float>(), Floats({-1, -7, -6}));
}

// What QuantAct does: widen the range, then quantize with it.
TEST(Observe, RangesOnlyWidenFromZeroAndFrozenOnesStay) {
  Tensor range = Tensor::zeros({2});
  auto tracked = [&](const Floats& x) {
    range = observe(list(x), range);
    return fake_quant(list(x), range, 6).values<float>();
  };
  EXPECT_EQ(tracked({0.5f, 2}), Floats({0.50793654f, 2}));
  EXPECT_EQ(range.values<float>(), Floats({0, 2}));
  EXPECT_EQ(tracked({-3, 1}), Floats({-3.015873f, 1.031746f}));
  EXPECT_EQ(range.values<float>(), Floats({-3, 2}));
  EXPECT_EQ(fake_quant(list({-10, 10, 0, 0.1f}), range, 6).values<float>(), Floats({-38 / 12.6f, 25 / 12.6f, 0, 1 / 12.6f}));
  EXPECT_EQ(range.values<float>(), Floats({-3, 2}));
}

TEST(Observe, NotANumberIsIgnoredWhereverItStands) {
  float nan = std::numeric_limits<float>::quiet_NaN();
  for (size_t at : {0, 1, 17, 40}) {
    Floats x(41, 0.25f);
    x[at] = nan, x[(at + 5) % 41] = -2, x[(at + 9) % 41] = 3;
    EXPECT_EQ(observe(list(x), Tensor::zeros({2})).values<float>(), Floats({-2, 3})) << at;
  }
  EXPECT_EQ(observe(list({nan, nan}), list({-1, 1})).values<float>(), Floats({-1, 1}));
  EXPECT_EQ(observe(Tensor::zeros({0, 4}), list({-1, 1})).values<float>(), Floats({-1, 1})) << "an empty batch";
}

TEST(FakeQuant, WrongRangesBitsAndDtypesAreRefused) {
  Tensor x = Tensor::zeros({3});
  EXPECT_THROW(fake_quant(x, Tensor::zeros({3}), 6), Error);
  EXPECT_THROW(fake_quant(x, Tensor::zeros({2}, Dtype::f64), 6), Error);
  EXPECT_THROW(fake_quant(x, Tensor::zeros({2}), 1), Error);
  EXPECT_THROW(fake_quant(x, Tensor::zeros({2}), 17), Error);
  EXPECT_THROW(fake_quant_weight(Tensor::zeros({3}, Dtype::i32), 6, true), Error);
  EXPECT_THROW(fake_quant_weight(Tensor::zeros({}), 6, true), Error);
}

}  // namespace
}  // namespace vitrine::quant
