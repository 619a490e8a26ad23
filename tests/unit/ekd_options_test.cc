// The variants of evaluation-oriented distillation: how thresholds start, what is compared, where positives come from; and resuming.
#include <gtest/gtest.h>
#include <algorithm>

#include <cmath>

#include "engine/core/rng.h"
#include "losses/distill.h"

namespace vitrine::losses {
namespace {

using Labels = std::vector<int64_t>;
using Start = EkdOptions::Start;
using Form = EkdOptions::Form;
using Positives = EkdOptions::Positives;

Tensor random(int64_t n, int64_t d, uint64_t stream) {
  Philox rng(9, stream);
  std::vector<double> v(n * d);
  for (double& x : v) x = rng.normal();
  return Tensor::from({n, d}, v);
}
const Labels kLabels{0, 0, 1, 1, 2, 2, 3, 3};
Tensor student(uint64_t step = 0) { return random(8, 5, 100 + step); }
Tensor teacher(uint64_t step = 0) { return random(8, 7, 200 + step); }

// Cosines of all pairs i < j, row by row.
std::vector<double> cosines(const Tensor& e) {
  int64_t n = e.shape()[0];
  Tensor unit = l2_normalize(e);
  auto v = matmul(unit, unit, false, true).values();
  std::vector<double> out;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) out.push_back(v[i * n + j]);
  return out;
}
Ekd::Anchors thresholds(const Tensor& e, const Labels& labels) {
  std::vector<double> negatives, all = cosines(e);
  size_t k = 0;
  for (size_t i = 0; i < labels.size(); ++i)
    for (size_t j = i + 1; j < labels.size(); ++j, ++k)
      if (labels[i] != labels[j]) negatives.push_back(all[k]);
  std::sort(negatives.rbegin(), negatives.rend());
  Ekd::Anchors a;
  auto at = threshold_positions(static_cast<int64_t>(negatives.size()));
  for (int i = 0; i < Ekd::kAnchors; ++i) a[i] = negatives[at[i]];
  return a;
}
void expect_near(const Ekd::Anchors& got, const Ekd::Anchors& want) {
  for (int k = 0; k < Ekd::kAnchors; ++k) EXPECT_NEAR(got[k], want[k], 1e-14) << k;
}

TEST(EkdStart, TheFirstBatchMaySetTheThresholdsWhole) {
  Ekd e({.start = Start::first_batch});
  e(student(0), teacher(0), kLabels);
  auto s0 = thresholds(student(0), kLabels), t0 = thresholds(teacher(0), kLabels), s1 = thresholds(student(1), kLabels);
  expect_near(e.student_anchors(), s0);
  expect_near(e.teacher_anchors(), t0);
  e(student(1), teacher(1), kLabels);
  for (int k = 0; k < Ekd::kAnchors; ++k) EXPECT_NEAR(e.student_anchors()[k], 0.01 * s1[k] + 0.99 * s0[k], 1e-14);
}

TEST(EkdStart, ABatchWithoutNegativesIsNotTheFirst) {
  Ekd e({.start = Start::first_batch});
  EXPECT_TRUE(std::isfinite(e(student(3), teacher(3), Labels(8, 1)).loss.item()));
  e(student(0), teacher(0), kLabels);
  expect_near(e.student_anchors(), thresholds(student(0), kLabels));
}

TEST(EkdStart, BiasCorrectionDividesByTheWeightsSoFar) {
  Ekd plain, corrected({.start = Start::unbiased});
  for (int step = 0; step < 7; ++step) {
    plain(student(step), teacher(step), kLabels), corrected(student(step), teacher(step), kLabels);
    double share = 1 - std::pow(0.99, step + 1);
    for (int k = 0; k < Ekd::kAnchors; ++k) EXPECT_NEAR(corrected.student_anchors()[k], plain.student_anchors()[k] / share, 1e-13) << step;
  }
}

TEST(EkdForm, DistancesToTheThresholdsAreComparedSquaredOverPairsAndThresholds) {
  Ekd e({.form = Form::distance});
  e.student_anchors() = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6}, e.teacher_anchors() = {0.12, 0.22, 0.31, 0.41, 0.52, 0.63};
  auto r = e(student(), teacher(), kLabels);
  auto s = cosines(student()), t = cosines(teacher());
  double positive = 0, negative = 0;
  size_t pair = 0;
  for (int i = 0; i < 8; ++i)
    for (int j = i + 1; j < 8; ++j, ++pair)
      for (int k = 0; k < 6; ++k) {
        double d = (s[pair] - e.student_anchors()[k]) - (t[pair] - e.teacher_anchors()[k]);
        (kLabels[i] == kLabels[j] ? positive : negative) += d * d;
      }
  EXPECT_NEAR(r.l_pos, positive / (4 * 6), 1e-13);
  EXPECT_NEAR(r.l_neg, negative / (24 * 6), 1e-13);
  EXPECT_NEAR(r.loss.item(), 0.02 * r.l_pos + 0.01 * r.l_neg, 1e-15);
}

// With no new threshold counted in (all pairs positive) the anchors stand still and a difference quotient is that of the loss.
TEST(EkdForm, TheGradientOfTheDistanceFormIsItsDerivative) {
  Ekd e({.form = Form::distance});
  e.student_anchors().fill(0.3), e.teacher_anchors().fill(0.1);
  Labels all(8, 1);
  Tensor s = student().set_requires_grad();
  auto g = grad(e(s, teacher(), all).loss, {s})[0].values();
  double* x = s.data<double>();
  for (int i = 0; i < 40; ++i) {
    double keep = x[i], h = 1e-6;
    x[i] = keep + h;
    double up = e(s, teacher(), all).loss.item();
    x[i] = keep - h;
    double down = e(s, teacher(), all).loss.item();
    x[i] = keep;
    EXPECT_NEAR(g[i], (up - down) / (2 * h), 1e-9) << i;
  }
}

TEST(EkdPositives, WithoutLabelsTheTeacherSaysWhichPairsAre) {
  auto t = cosines(teacher());
  for (double cosine : {-2.0, 0.2, 0.4, 2.0, t[3]}) {  // the last: as alike as is asked for
    Ekd e({.positives = Positives::teacher, .teacher_cosine = cosine});
    Tensor s = student().set_requires_grad();
    auto r = e(s, teacher());
    EXPECT_EQ(r.positives, std::count_if(t.begin(), t.end(), [&](double x) { return x >= cosine; })) << cosine;
    EXPECT_EQ(r.positives + r.negatives, 28);
    for (double x : grad(r.loss, {s})[0].values()) EXPECT_TRUE(std::isfinite(x)) << cosine;
    EXPECT_TRUE(std::isfinite(r.loss.item())) << cosine;
  }
}

TEST(EkdPositives, TwoViewsOfAnImageAreAPair) {
  Ekd views({.positives = Positives::views}), labelled;
  auto a = views(student(), teacher()), b = labelled(student(), teacher(), {0, 1, 2, 3, 0, 1, 2, 3});
  EXPECT_EQ(a.positives, 4);
  EXPECT_EQ(a.loss.item(), b.loss.item());
  EXPECT_EQ(views.student_anchors(), labelled.student_anchors());
  EXPECT_THROW(views(random(7, 5, 1), random(7, 5, 2)), Error);
}

TEST(EkdState, AResumedRunGoesOnWithTheSameNumbers) {
  EkdOptions o{.start = Start::unbiased};
  Ekd through(o), first(o), second(o);
  for (int step = 0; step < 5; ++step) through(student(step), teacher(step), kLabels);
  for (int step = 0; step < 2; ++step) first(student(step), teacher(step), kLabels);
  second.load_state(first.state());
  for (int step = 2; step < 5; ++step) second(student(step), teacher(step), kLabels);
  EXPECT_EQ(second.student_anchors(), through.student_anchors());
  EXPECT_EQ(second.teacher_anchors(), through.teacher_anchors());
  TensorMap broken = first.state();
  broken["ekd.anchors"] = Tensor::zeros({2, 5}, Dtype::f64);
  EXPECT_THROW(second.load_state(broken), Error);
  broken.erase("ekd.anchors");
  EXPECT_THROW(second.load_state(broken), Error);
}

}  // namespace
}  // namespace vitrine::losses
