// Distillation losses in f64 against numbers from the published code, and what must hold for any embeddings.
#include <gtest/gtest.h>
#include <algorithm>

#include <cmath>

#include "engine/core/rng.h"
#include "losses/distill.h"

namespace vitrine::losses {
namespace {

using Labels = std::vector<int64_t>;
constexpr int64_t N = 12, D = 16;

Tensor made(int64_t n, int64_t d, const std::function<double(int64_t, int64_t)>& f) {
  std::vector<double> v;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < d; ++j) v.push_back(f(i, j));
  return Tensor::from({n, d}, v);
}
double student_value(int64_t i, int64_t j) { return std::sin(1.0 + 3.0 * i + 7.0 * j + 0.37 * i * j) + 0.35; }
Tensor student() { return made(N, D, student_value); }
Tensor teacher() {
  return made(N, D, [](int64_t i, int64_t j) { return student_value(i, j) + 0.15 * std::cos(2.0 + 5.0 * i + 11.0 * j + 0.61 * i * j); });
}
Labels thirds() {
  Labels l;
  for (int64_t i = 0; i < N; ++i) l.push_back(i / 3);
  return l;
}
Labels all_different(int64_t n = N) {
  Labels l(n);
  for (int64_t i = 0; i < n; ++i) l[i] = i;
  return l;
}
Tensor random(int64_t n, int64_t d, uint64_t stream) {
  Philox rng(9, stream);
  return made(n, d, [&](int64_t, int64_t) { return rng.normal(); });
}
Ekd preset() {
  Ekd e;
  e.student_anchors() = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
  e.teacher_anchors() = {0.12, 0.22, 0.31, 0.41, 0.52, 0.63};
  return e;
}
double size(const Tensor& t) {
  double s = 0;
  for (double x : t.values()) s += x * x;
  return std::sqrt(s);
}

TEST(EmbeddingMse, OrthogonalOppositeAndScaledEmbeddingsHaveTheirKnownDistance) {
  auto axis = [](int64_t at, double length) { return made(1, 512, [=](int64_t, int64_t j) { return j == at ? length : 0.0; }); };
  EXPECT_DOUBLE_EQ(embedding_mse(axis(0, 1), axis(1, 1)).item(), 2.0 / 512);
  EXPECT_DOUBLE_EQ(embedding_mse(axis(0, 1), axis(0, -1)).item(), 4.0 / 512);
  EXPECT_DOUBLE_EQ(embedding_mse(axis(0, 7), axis(1, 0.01)).item(), 2.0 / 512);
  EXPECT_EQ(embedding_mse(axis(3, 5), axis(3, 0.25)).item(), 0);
  EXPECT_FLOAT_EQ(embedding_mse(axis(0, 1).to(Dtype::f32), axis(1, 1).to(Dtype::f32)).item<float>(), 0.00390625f);
}

TEST(EmbeddingMse, NoGradientReachesTheTeacher) {
  Tensor s = student().set_requires_grad(), t = teacher().set_requires_grad();
  Tensors g = grad(embedding_mse(s, t), {s, t});
  EXPECT_GT(size(g[0]), 0);
  EXPECT_FALSE(g[1]);
}

TEST(Ekd, ThresholdsStandAtTheFlooredShareOfTheNegatives) {
  using Six = std::array<int64_t, 6>;
  EXPECT_EQ(threshold_positions(2016), (Six{201, 20, 2, 0, 0, 0}));
  EXPECT_EQ(threshold_positions(1968), (Six{196, 19, 1, 0, 0, 0}));
  EXPECT_EQ(threshold_positions(496), (Six{49, 4, 0, 0, 0, 0}));
  EXPECT_EQ(threshold_positions(130816), (Six{13081, 1308, 130, 13, 1, 0}));
  EXPECT_EQ(threshold_positions(1), (Six{0, 0, 0, 0, 0, 0}));
}

// The similarities of all pairs i < j with different labels.
std::vector<double> negatives(const Tensor& e, const Labels& labels) {
  int64_t n = e.shape()[0], d = e.shape()[1];
  auto v = e.values();
  std::vector<double> out;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) {
      double ij = 0, ii = 0, jj = 0;
      for (int64_t k = 0; k < d; ++k)
        ij += v[i * d + k] * v[j * d + k], ii += v[i * d + k] * v[i * d + k], jj += v[j * d + k] * v[j * d + k];
      if (labels[i] != labels[j]) out.push_back(ij / std::sqrt(ii * jj));
    }
  return out;
}

TEST(Ekd, AsManyNegativesLieAboveAThresholdAsItsPositionSays) {
  Tensor s = random(40, 24, 1);
  Ekd e;
  auto r = e(s, random(40, 24, 2), all_different(40));
  ASSERT_EQ(r.negatives, 780);
  auto at = threshold_positions(780);
  for (int k = 0; k < Ekd::kAnchors; ++k) {
    double threshold = e.student_anchors()[k] / 0.01;
    int64_t above = 0;
    for (double x : negatives(s, all_different(40))) above += x > threshold + 1e-12;
    EXPECT_EQ(above, at[k]);
  }
}

TEST(Ekd, ThresholdsAreAveragedFromZeroWithoutBiasCorrection) {
  Tensor s = student(), t = teacher();
  Ekd one;
  one(s, t, thirds());
  Ekd::Anchors first = one.student_anchors();
  Ekd many;
  for (int step = 1; step <= 459; ++step) {
    many(s, t, thirds());
    for (int k = 0; k < Ekd::kAnchors; ++k)
      ASSERT_NEAR(many.student_anchors()[k], first[k] / 0.01 * (1 - std::pow(0.99, step)), 1e-12) << step;
    if (step == 206) {
      EXPECT_NEAR(many.student_anchors()[0], 0.87386 * first[0] / 0.01, 1e-5);
    }
  }
  EXPECT_GT(many.student_anchors()[0], 0.99 * first[0] / 0.01);
  EXPECT_LT(many.student_anchors()[0], 0.9901 * first[0] / 0.01);
}

TEST(Ekd, TheSoftRankIsAClampedSigmoidWithNoGradientBeyondTheClamp) {
  Ekd::Anchors far;
  far.fill(100);  // five anchors that add next to nothing
  far[0] = 0;
  double rest = 5 / (1 + std::exp(50.0));
  const double x[] = {0, 0.01, -0.01, 0.05, 0.6, -0.6},
               want[] = {0.5, 0.7310585786300049, 0.2689414213699951, 0.9933071490757153, 1, 1.9287498479639178e-22};
  Tensor s = Tensor::from({6}, std::vector<double>(x, x + 6)).set_requires_grad(), y = soft_rank(s, far);
  for (int i = 0; i < 6; ++i)
    EXPECT_NEAR(y.values()[i] - (i == 5 ? 0 : rest), i == 5 ? want[i] + rest : want[i], 1e-15 * (i == 5 ? 1e-22 : 1)) << x[i];
  auto g = grad(sum(y), {s})[0].values();
  EXPECT_EQ(g[4], 0);
  EXPECT_EQ(g[5], 0);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(g[i], want[i] * (1 - want[i]) / 0.01, 1e-10);
}

TEST(Ekd, GoldenBatchGivesTheReferencesCountsAnchorsLossesAndGradient) {
  Ekd e = preset();
  Tensor s = student().set_requires_grad();
  auto r = e(s, teacher(), thirds());
  EXPECT_EQ(r.positives, 12);
  EXPECT_EQ(r.negatives, 54);
  EXPECT_EQ(threshold_positions(54), (std::array<int64_t, 6>{5, 0, 0, 0, 0, 0}));
  const double a_s[] = {.1024922758, .2078218792, .3068218792, .4058218792, .5048218792, .6038218792};
  const double a_t[] = {.1227853469, .2275426773, .3166426773, .4156426773, .5245426773, .6334426773};
  for (int k = 0; k < 6; ++k) {
    EXPECT_NEAR(e.student_anchors()[k], a_s[k], 6e-11);
    EXPECT_NEAR(e.teacher_anchors()[k], a_t[k], 6e-11);
  }
  EXPECT_NEAR(r.l_pos, .221761510836, 1e-12);
  EXPECT_NEAR(r.l_neg, .263550814132, 1e-12);
  EXPECT_NEAR(r.loss.item(), .00707073835805, 1e-14);
  Tensor g = grad(r.loss, {s})[0];
  const double row0[] = {-5.283747299e-4, -6.195236055e-4, -3.492877436e-4, 1.929616979e-3};
  for (int j = 0; j < 4; ++j) EXPECT_NEAR(g.values()[j], row0[j], 1e-12);
  EXPECT_NEAR(size(g), .0242908634105, 1e-12);
  RecordProperty("deviation", cat(r.l_pos - .221761510836, " ", r.l_neg - .263550814132, " ", r.loss.item() - .00707073835805, " ",
                                  size(g) - .0242908634105));
}

TEST(Ekd, GoldenBatchInSinglePrecisionIsCloseToTheReferences) {
  Ekd e = preset();
  double loss = e(student().to(Dtype::f32), teacher().to(Dtype::f32), thirds()).loss.item();
  EXPECT_NEAR(loss, .00707073789, 2e-9);
  RecordProperty("deviation", cat(loss - .00707073789));
}

TEST(Ekd, EveryGradientRowIsOrthogonalToItsEmbedding) {
  Ekd e = preset();
  Tensor s = student().set_requires_grad();
  Tensor g = grad(e(s, teacher(), thirds()).loss, {s})[0];
  auto along = sum(mul(g, s.detach()), {1}).values();
  double worst = 0;
  for (double x : along) worst = std::max(worst, std::abs(x));
  EXPECT_LT(worst, 1e-15);
  RecordProperty("worst", cat(worst));
}

// The loss with the running thresholds held at what they were: a call moves them by 0.01 * (threshold - anchor), which is undone first.
double loss_at(const Tensor& s, const Ekd::Anchors& a_s, const Ekd::Anchors& a_t) {
  Ekd probe;
  probe(s, teacher(), thirds());
  Ekd held;
  for (int k = 0; k < Ekd::kAnchors; ++k) {
    held.student_anchors()[k] = (a_s[k] - probe.student_anchors()[k]) / 0.99;
    held.teacher_anchors()[k] = (a_t[k] - probe.teacher_anchors()[k]) / 0.99;
  }
  return held(s, teacher(), thirds()).loss.item();
}

TEST(Ekd, GradientIsTheDerivativeWithThresholdsHeld) {
  Ekd e = preset();
  Tensor s = student().set_requires_grad();
  auto g = grad(e(s, teacher(), thirds()).loss, {s})[0].values();
  const double step = 1e-6;
  double error = 0, total = 0;
  for (int64_t i = 0; i < N * D; ++i) {
    auto moved = [&](double by) {
      auto v = student().values();
      v[i] += by;
      return loss_at(Tensor::from({N, D}, v), e.student_anchors(), e.teacher_anchors());
    };
    double numeric = (moved(step) - moved(-step)) / (2 * step);
    error += (numeric - g[i]) * (numeric - g[i]), total += g[i] * g[i];
  }
  EXPECT_LT(std::sqrt(error / total), 1e-6);
  RecordProperty("relative", cat(std::sqrt(error / total)));
}

TEST(Ekd, LossDoesNotChangeUnderRowScalingAndACommonRotation) {
  auto loss = [](const Tensor& s, const Tensor& t) { return preset()(s, t, thirds()).loss.item(); };
  double plain = loss(student(), teacher());
  Tensor lengths = made(N, 1, [](int64_t i, int64_t) { return 0.1 + 3.0 * i; });
  EXPECT_NEAR(loss(mul(student(), lengths), teacher()), plain, 1e-14);
  EXPECT_NEAR(loss(student(), mul(teacher(), lengths)), plain, 1e-14);
  // A Householder reflection times a permutation: orthogonal.
  Tensor v = l2_normalize(made(1, D, [](int64_t, int64_t j) { return std::cos(1.0 + j); }));
  Tensor reflect = sub(made(D, D, [](int64_t i, int64_t j) { return (i + 3) % D == j ? 1.0 : 0.0; }),
                       mul_scalar(matmul(gather(reshape(v, {D, 1}), Tensor::from({D},
                                                                                 [] {
                                                                                   Labels l;
                                                                                   for (int64_t i = 0; i < D; ++i) l.push_back((i + 3) % D);
                                                                                   return l;
                                                                                 }())),
                                         v),
                                  2));
  auto unit = matmul(reflect, reflect, false, true).values();
  for (int64_t i = 0; i < D * D; ++i) ASSERT_NEAR(unit[i], i % (D + 1) == 0, 1e-14) << "the test's own matrix is not orthogonal";
  EXPECT_NEAR(loss(matmul(student(), reflect), matmul(teacher(), reflect)), plain, 1e-14);
}

TEST(Ekd, AStudentEqualToItsTeacherHasNoLossAndNoGradient) {
  Ekd e;
  for (int step = 1; step <= 3; ++step) {
    Tensor s = student().set_requires_grad();
    auto r = e(s, student(), thirds());
    EXPECT_EQ(r.loss.item(), 0) << step;
    for (double x : grad(r.loss, {s})[0].values()) EXPECT_EQ(x, 0) << step;
  }
}

TEST(Ekd, NoGradientReachesTheTeacher) {
  Ekd e = preset();
  Tensor s = student().set_requires_grad(), t = teacher().set_requires_grad();
  Tensors g = grad(e(s, t, thirds()).loss, {s, t});
  EXPECT_GT(size(g[0]), 0);
  EXPECT_FALSE(g[1]);
}

TEST(Ekd, WithoutPositivesTheLossIsThatOfTheNegatives) {
  Ekd e = preset();
  Tensor s = student().set_requires_grad();
  auto r = e(s, teacher(), all_different());
  EXPECT_EQ(r.positives, 0);
  EXPECT_EQ(r.l_pos, 0);
  EXPECT_GT(r.l_neg, 0);
  EXPECT_NEAR(r.loss.item(), 0.01 * r.l_neg, 1e-17);
  // 0.01 * mean over the pairs of (rank difference)^2, written down once more.
  Tensor again = student().set_requires_grad(), unit = l2_normalize(again);
  Labels pairs;
  for (int64_t i = 0; i < N; ++i)
    for (int64_t j = i + 1; j < N; ++j) pairs.push_back(i * N + j);
  Tensor index = Tensor::from({static_cast<int64_t>(pairs.size())}, pairs);
  Tensor own = gather(reshape(matmul(unit, unit, false, true), {-1}), index);
  Tensor unit_t = l2_normalize(teacher()), other = gather(reshape(matmul(unit_t, unit_t, false, true), {-1}), index);
  Tensor alone = mul_scalar(mean(square(sub(soft_rank(own, e.student_anchors()), soft_rank(other, e.teacher_anchors())))), 0.01);
  auto got = grad(r.loss, {s})[0].values(), want = grad(alone, {again})[0].values();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-15);
}

TEST(Ekd, WithoutNegativesTheThresholdsStay) {
  Ekd e = preset();
  Tensor s = student().set_requires_grad();
  auto r = e(s, teacher(), Labels(N, 5));
  EXPECT_EQ(r.negatives, 0);
  EXPECT_EQ(r.positives, N * (N - 1) / 2);
  EXPECT_EQ(r.l_neg, 0);
  EXPECT_NEAR(r.loss.item(), 0.02 * r.l_pos, 1e-17);
  EXPECT_EQ(e.student_anchors(), preset().student_anchors());
  EXPECT_EQ(e.teacher_anchors(), preset().teacher_anchors());
  double length = size(grad(r.loss, {s})[0]);
  EXPECT_TRUE(std::isfinite(length));
  EXPECT_GT(length, 0);
}

TEST(Ekd, ASingleImageHasNoPairsNoLossAndNoGradient) {
  Ekd e = preset();
  Tensor s = random(1, D, 3).set_requires_grad();
  auto r = e(s, random(1, D, 4), {7});
  EXPECT_EQ(r.positives + r.negatives, 0);
  EXPECT_EQ(r.loss.item(), 0);
  EXPECT_EQ(size(grad(r.loss, {s})[0]), 0);
  EXPECT_EQ(e.student_anchors(), preset().student_anchors());
}

TEST(Ekd, OnlyTheTwoThousandNegativesHardestForTheStudentAreCompared) {
  const int64_t n = 70;  // 2,415 pairs
  Labels labels = all_different(n);
  Tensor s = random(n, 8, 5), t = random(n, 8, 6);
  Ekd e = preset();
  auto r = e(s, t, labels);
  ASSERT_EQ(r.negatives, 2415);
  auto own = negatives(s, labels), other = negatives(t, labels);
  auto rank = [](double x, const Ekd::Anchors& a) {
    double total = 0;
    for (double k : a) total += 1 / (1 + std::exp(-std::clamp((x - k) / 0.01, -50.0, 50.0)));
    return total;
  };
  std::vector<std::pair<double, double>> pairs;
  for (size_t i = 0; i < own.size(); ++i)
    pairs.emplace_back(own[i], std::pow(rank(own[i], e.student_anchors()) - rank(other[i], e.teacher_anchors()), 2));
  std::sort(pairs.rbegin(), pairs.rend());
  double hardest = 0, all = 0;
  for (size_t i = 0; i < pairs.size(); ++i) all += pairs[i].second / 2415, hardest += i < 2000 ? pairs[i].second / 2000 : 0;
  EXPECT_NEAR(r.l_neg, hardest, 1e-9);
  EXPECT_GT(std::abs(all - hardest), 0.1) << "this batch does not tell the two apart";
}

TEST(Ekd, EmbeddingsMayHaveDifferentWidthsButNotDifferentBatches) {
  Ekd e;
  EXPECT_TRUE(std::isfinite(e(random(6, 8, 1), random(6, 32, 2), {0, 0, 1, 1, 2, 2}).loss.item()));
  EXPECT_THROW(e(random(6, 8, 1), random(5, 8, 2), {0, 0, 1, 1, 2, 2}), Error);
  EXPECT_THROW(e(random(6, 8, 1), random(6, 8, 2), {0, 0, 1}), Error);
}

}  // namespace
}  // namespace vitrine::losses
