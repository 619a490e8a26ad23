// Observers, least-error ranges of weights and the clipped estimator, against brute force.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/parallel.h"
#include "engine/core/rng.h"
#include "engine/ops.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/observe.h"

namespace vitrine::quant {
namespace {

using Floats = std::vector<float>;

Tensor list(const Floats& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v); }
Floats observed(const Floats& x, Floats range, ObserveAttrs::Rule rule, double keep = 99.9, int64_t bits = 8) {
  ObserveAttrs a;
  a.rule = rule, a.keep = keep, a.bits = bits;
  return observe(list(x), list(range), a).values<float>();
}
Floats normal(int64_t n, uint64_t seed) {
  Philox rng(seed);
  Floats x(n);
  for (float& v : x) v = static_cast<float>(rng.normal());
  return x;
}
double error(const Floats& x, float lo, float hi, int64_t bits) {
  double e = 0;
  Floats y = fake_quant(list(x), list({lo, hi}), bits).values<float>();
  for (size_t i = 0; i < x.size(); ++i) e += std::pow(static_cast<double>(x[i]) - y[i], 2);
  return e / static_cast<double>(x.size());
}

TEST(Observer, NamesAreThoseOfTheCommandLine) {
  EXPECT_EQ(observer_named("minmax"), ObserveAttrs::minmax);
  EXPECT_EQ(observer_named("ema"), ObserveAttrs::ema);
  EXPECT_EQ(observer_named("percentile"), ObserveAttrs::percentile);
  EXPECT_EQ(observer_named("mse"), ObserveAttrs::mse);
  EXPECT_THROW(observer_named("max"), Error);
}

TEST(Observer, MovingAverageTakesTheFirstBatchWholeAndThenATenth) {
  Floats r = observed({-1, 2, 0.5f}, {0, 0}, ObserveAttrs::ema);
  EXPECT_EQ(r, Floats({-1, 2}));
  r = observed({-3, 1}, r, ObserveAttrs::ema);
  EXPECT_FLOAT_EQ(r[0], -1.2f);
  EXPECT_FLOAT_EQ(r[1], 1.9f);
}

TEST(Observer, PercentilesAreOrderStatistics) {
  for (int64_t n : {1, 10, 999, 1000, 1001, 20011})
    for (double keep : {99.0, 99.9, 99.99, 100.0}) {
      Floats x = normal(n, 3), sorted = x;
      std::sort(sorted.begin(), sorted.end());
      auto cut = static_cast<size_t>(std::floor(static_cast<double>(n) * (100 - keep) / 100 + 1e-6));
      Floats want{std::min(sorted[cut], 0.f), std::max(sorted[static_cast<size_t>(n) - 1 - cut], 0.f)};
      EXPECT_EQ(observed(x, {0, 0}, ObserveAttrs::percentile, keep), want) << n << " elements, " << keep;
    }
}

TEST(Observer, PercentilesForgetAnOutlierThatMinMaxKeeps) {
  Floats x = normal(100000, 4);
  x[777] = 71, x[778] = -std::numeric_limits<float>::infinity();
  Floats r = observed(x, {0, 0}, ObserveAttrs::percentile);
  EXPECT_NEAR(r[1], 3.09, 0.1);
  EXPECT_NEAR(r[0], -3.09, 0.1);
  EXPECT_EQ(observed(x, {0, 0}, ObserveAttrs::minmax)[1], 71);
}

TEST(Observer, LeastErrorIsThatOfASearchOverManyRanges) {
  for (int64_t bits : {2, 4, 6, 8})
    for (float outlier : {0.f, 40.f}) {
      Floats x = normal(4000, 5);
      for (float& v : x) v = v < 0 ? 0.25f * v : v;  // as PReLU leaves them
      if (outlier != 0) x[3] = outlier;
      Floats r = observed(x, {0, 0}, ObserveAttrs::mse, 99.9, bits);
      auto [least, most] = std::minmax_element(x.begin(), x.end());
      double found = error(x, r[0], r[1], bits), best = error(x, *least, *most, bits);
      for (int i = 1; i <= 30; ++i)
        for (int j = 1; j <= 10; ++j)
          best = std::min(best, error(x, *least * static_cast<float>(j) / 10, *most * static_cast<float>(i) / 30, bits));
      EXPECT_LE(found, 1.1 * best) << bits << " bits, outlier " << outlier << ": " << r[0] << " " << r[1];
    }
}

TEST(Observer, ABatchWithoutNumbersChangesNothingAndARangeContainsZero) {
  float nan = std::numeric_limits<float>::quiet_NaN();
  for (auto rule : {ObserveAttrs::ema, ObserveAttrs::percentile, ObserveAttrs::mse}) {
    EXPECT_EQ(observed({nan, nan}, {-1, 2}, rule), Floats({-1, 2})) << rule;
    EXPECT_EQ(observed({}, {-1, 2}, rule), Floats({-1, 2})) << rule;
    EXPECT_EQ(observed({0, 0, 0}, {-1, 2}, rule), Floats({-1, 2})) << rule;
    Floats r = observed({3, nan, 4, 3.5f}, {0, 0}, rule);
    EXPECT_EQ(r[0], 0) << rule;
    EXPECT_NEAR(r[1], 4, 0.3) << rule;
    r = observed({-3, -4, nan, -3.5f}, {0, 0}, rule);
    EXPECT_EQ(r[1], 0) << rule;
    EXPECT_NEAR(r[0], -4, 0.3) << rule;
  }
  float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(observed({1, inf}, {0, 0}, ObserveAttrs::mse)[1], inf) << "an infinite width has no histogram";
}

TEST(Observer, BitsAreTheSameForAnyNumberOfThreads) {
  int before = threads();
  Floats x = normal(3000001, 6);
  for (auto rule : {ObserveAttrs::ema, ObserveAttrs::percentile, ObserveAttrs::mse}) {
    set_threads(1);
    Floats one = observed(x, {-1, 1}, rule);
    set_threads(3);
    EXPECT_EQ(observed(x, {-1, 1}, rule), one) << rule;
  }
  set_threads(before);
}

TEST(Observer, WrongAttributesAreRefused) {
  auto with = [](auto change) {
    ObserveAttrs a;
    change(a);
    return observe(Tensor::zeros({3}), Tensor::zeros({2}), a);
  };
  EXPECT_NO_THROW(with([](auto&) {}));
  EXPECT_THROW(with([](auto& a) { a.rule = 4; }), Error);
  EXPECT_THROW(with([](auto& a) { a.rule = -1; }), Error);
  EXPECT_THROW(with([](auto& a) { a.bits = 1; }), Error);
  EXPECT_THROW(with([](auto& a) { a.momentum = 1; }), Error);
  EXPECT_THROW(with([](auto& a) { a.keep = 50; }), Error);
  EXPECT_THROW(with([](auto& a) { a.keep = std::nan(""); }), Error);
}

TEST(FakeQuantWeight, LeastErrorNeverLosesToMinMaxAndWinsAtFewBits) {
  Floats w = normal(6 * 400, 8);
  w[5] = 9;
  for (int i = 2000; i < 2400; ++i) w[i] = 0.3f;  // a constant channel
  Tensor t = Tensor::from({6, 400}, w);
  for (int64_t bits : {2, 3, 4, 8}) {
    Floats whole = fake_quant_weight(t, bits, true).values<float>(), cut = fake_quant_weight(t, bits, true, true).values<float>();
    for (int row = 0; row < 6; ++row) {
      double a = 0, b = 0;
      for (int i = 400 * row; i < 400 * (row + 1); ++i) a += std::pow(whole[i] - w[i], 2), b += std::pow(cut[i] - w[i], 2);
      EXPECT_LE(b, a) << bits << " bits, row " << row;
      if (bits <= 4 && row < 5) {
        EXPECT_LT(b, 0.95 * a) << bits << " bits, row " << row;
      }
    }
    Floats row = fake_quant_weight(t.view({6, 400}), bits, true, true).values<float>();
    Tensor alone = Tensor::from({1, 400}, Floats(w.begin() + 400, w.begin() + 800));
    Floats single = fake_quant_weight(alone, bits, true, true).values<float>();
    EXPECT_TRUE(std::equal(single.begin(), single.end(), row.begin() + 400)) << "a channel's range is its own";
  }
}

TEST(Clip, ForwardLimitsAndTheGradientIsItsDerivativeAndNoneReachesTheRange) {
  Tensor x = Tensor::from({7}, std::vector<double>{-10, -1.01, -0.99, 0, 1.99, 2.01, 50}).set_requires_grad();
  Tensor r = Tensor::from({2}, std::vector<double>{-1, 2}).set_requires_grad();
  Tensor y = clip(x, r);
  EXPECT_EQ(y.values(), std::vector<double>({-1, -1, -0.99, 0, 1.99, 2, 2}));
  Tensors g = grad(sum(mul(y, y)), {x, r});
  EXPECT_FALSE(g[1]);
  NoGrad quiet;
  for (int64_t i = 0; i < 7; ++i) {
    auto value = [&](double step) {
      Tensor moved = x.clone();
      moved.data<double>()[i] += step;
      Tensor v = clip(moved, r);
      return sum(mul(v, v)).item();
    };
    EXPECT_NEAR(g[0].values()[i], (value(1e-6) - value(-1e-6)) / 2e-6, 1e-6) << i;
  }
  EXPECT_THROW(clip_grad(x, r, Tensor::zeros({6}, Dtype::f64)), Error);
}

}  // namespace
}  // namespace vitrine::quant
