// Margins, softmax heads and partial FC against numbers from PyTorch in f64, and what must hold for any of them.
#include "losses/head.h"

#include <gtest/gtest.h>
#include <algorithm>

#include <cmath>
#include <set>

#include "engine/ops.h"
#include "losses/distill.h"

namespace vitrine::losses {
namespace {

using Labels = std::vector<int64_t>;

Tensor labels_of(const Labels& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v); }
Tensor row_of(const std::vector<double>& v) { return Tensor::from({1, static_cast<int64_t>(v.size())}, v); }
double own_logit(double cosine, const Margin& m) { return margin_logits(row_of({cosine, 0.1, -0.2, 0.3}), labels_of({0}), m).values()[0]; }
const Margin kArc{}, kCos{.m2 = 0, .m3 = 0.4}, kFalling{.m2 = 0.4, .straight = false, .falling = true};

Tensor waves(int64_t n, int64_t d, double step, Dtype dtype = Dtype::f64) {
  std::vector<double> v;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < d; ++j) v.push_back(std::sin(1 + step * i + 7.0 * j + 0.37 * i * j));
  return Tensor::from({n, d}, v).to(dtype);
}

TEST(Margins, LogitsAreThePublishedOnesAlsoOutOfRange) {
  EXPECT_NEAR(own_logit(0.9, kArc), 37.174243733, 5e-10);
  EXPECT_NEAR(own_logit(-0.95, kArc), -62.937856656, 5e-10);
  EXPECT_NEAR(own_logit(-1, kArc), -56.165283961, 5e-10);
  EXPECT_NEAR(own_logit(-1.25, kArc), -56.165283961, 5e-10) << "clamped";
  EXPECT_NEAR(own_logit(0.9, kCos), 32, 1e-12);
  EXPECT_NEAR(own_logit(-0.95, kCos), -86.4, 1e-12);
  EXPECT_NEAR(own_logit(-1, kCos), -89.6, 1e-12);
  EXPECT_NEAR(own_logit(0.5, kFalling), 7.8902, 5e-4);
  EXPECT_NEAR(own_logit(-0.95, kFalling), -70.769, 5e-4);
  auto others = margin_logits(row_of({0.9, 0.1, -0.2, 0.3}), labels_of({0}), kArc).values();
  EXPECT_NEAR(others[1], 6.4, 1e-12);
  EXPECT_NEAR(others[2], -12.8, 1e-12);
}

TEST(Margins, ThePublishedGradientIsTheScaleForEveryLogit) {
  for (const Margin& m : {kArc, kCos})
    for (double own : {0.9, -0.95, -1.0}) {
      Tensor c = row_of({own, 0.1, -0.2, 0.3}).set_requires_grad();
      EXPECT_EQ(grad(sum(margin_logits(c, labels_of({0}), m)), {c})[0].values(), (std::vector<double>{64, 64, 64, 64}));
    }
}

TEST(Margins, TheTrueGradientStaysFiniteAtTheEndsAndIsTheCosinesBeyondTheRange) {
  Margin m = kFalling;
  for (auto [own, want] : {std::pair{1.0, 0.0}, {-1.0, 0.0}, {-0.95, 64.0}}) {
    Tensor c = row_of({own, 0.1}).set_requires_grad();
    EXPECT_EQ(grad(sum(margin_logits(c, labels_of({0}), m)), {c})[0].values()[0], want) << own;
  }
}

TEST(Margins, TheFilterSilencesOtherClassesThatAreTooClose) {
  Margin m = kArc;
  m.filter = 0.4;
  Tensor c = row_of({0.9, 0.5, 0.6, 0.3}).set_requires_grad();
  Tensor y = margin_logits(c, labels_of({0}), m);
  EXPECT_NEAR(y.values()[0], 37.174243733, 5e-10) << "the own class stays";
  EXPECT_EQ(y.values()[1], 0);
  EXPECT_EQ(y.values()[2], 0);
  EXPECT_NEAR(y.values()[3], 19.2, 1e-12);
  EXPECT_EQ(grad(sum(y), {c})[0].values(), (std::vector<double>{64, 0, 0, 64}));
}

TEST(Margins, TheFallingRuleNeedsPlainAngles) {
  Margin m{.m1 = 2, .falling = true};
  EXPECT_THROW(own_logit(0.5, m), Error);
  EXPECT_THROW(margin_logits(row_of({0.5, 0.1}), labels_of({2}), kArc), Error);
  EXPECT_THROW(margin_logits(row_of({0.5, 0.1}), labels_of({-1}), kArc), Error);
}

TEST(CrossEntropy, IsPyTorchsAndNeverInfinite) {
  Tensor x = Tensor::from({3, 3}, std::vector<double>{1, 2, 3, -1, 0.5, 1000, 0, 0, 0}).set_requires_grad();
  Tensor y = cross_entropy(x, labels_of({2, 0, 1}));
  EXPECT_NEAR(y.values()[0], 0.4076059644443804, 1e-15);
  EXPECT_EQ(y.values()[1], 1001);
  EXPECT_NEAR(y.values()[2], 1.0986122886681098, 1e-15);
  auto g = grad(sum(y), {x})[0].values();
  EXPECT_EQ(g[3], -1);
  EXPECT_EQ(g[5], 1);
  EXPECT_NEAR(g[6], 1.0 / 3, 1e-15);
  EXPECT_NEAR(g[7], 1.0 / 3 - 1, 1e-15);
  EXPECT_THROW(cross_entropy(x, labels_of({2, 0, 3})), Error);
  EXPECT_THROW(cross_entropy(x, labels_of({2, 0})), Error);
}

struct Golden {
  Margin margin;
  double loss;
  std::vector<double> embedding1, weight3;  // gradients of one row
  double embedding_norm, weight_norm;
};
const Golden kGolden[] = {
    {kArc,
     46.81189236418636,
     {-0.6345924059008103, -4.781220982192957, 0.728383039711564, -2.1440079167852164, -3.4162283290884625, 6.918664834744271},
     {2.1824987053519305, 2.066630363757448, 1.0631121255078595, 0.11243079391322447, -4.173744451568806, -6.114751458287957},
     18.793665759431487,
     14.414916198027576},
    {kCos,
     44.12350270070154,
     {-0.6345924059008103, -4.781220982192957, 0.728383039711564, -2.1440079167852164, -3.4162283290884625, 6.918664834744271},
     {2.1824987424280513, 2.0666304224499648, 1.0631121211225452, 0.11243070185804896, -4.173744471071579, -6.114751336810745},
     18.793665654492496,
     14.414916091836567},
    {kFalling,
     42.69159773996637,
     {-0.30036582575189064, -4.50089321567859, 0.22343774067822642, -2.171977037172217, -2.8715166088424984, 6.697959940454058},
     {1.5995845478865802, 1.275747709476608, 1.006543504197932, 1.0342758289240002, -3.5796874833619152, -6.7644424341070595},
     17.497096218842664,
     13.098707160635529}};
const Labels kLabels{0, 3, 3, 1};

void expect_row(const Tensor& t, int64_t row, const std::vector<double>& want, double tolerance) {
  auto v = t.values();
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(v[row * want.size() + i], want[i], tolerance) << i;
}

TEST(Head, LossAndGradientsAreThoseOfPyTorch) {
  for (const Golden& g : kGolden) {
    Head head({.classes = 5, .dim = 6, .margin = g.margin});
    head.tensors()["head.weight"].assign(waves(5, 6, 2, Dtype::f32));
    Tensor e = waves(4, 6, 3, Dtype::f32).set_requires_grad();
    Tensor loss = head(e, kLabels);
    EXPECT_NEAR(loss.item(), g.loss, 2e-5);
    Tensors d = grad(loss, {e, head.rows()});
    expect_row(d[0], 1, g.embedding1, 2e-5);
    expect_row(d[1], 3, g.weight3, 2e-5);
    EXPECT_NEAR(std::sqrt(sum(square(d[0])).item()), g.embedding_norm, 2e-5);
    EXPECT_NEAR(std::sqrt(sum(square(d[1])).item()), g.weight_norm, 2e-5);
    // The same in f64, without the head.
    Tensor e64 = waves(4, 6, 3).set_requires_grad(), w64 = waves(5, 6, 2).set_requires_grad(), at = labels_of(kLabels);
    loss = mean(cross_entropy(margin_logits(matmul(l2_normalize(e64), l2_normalize(w64), false, true), at, g.margin), at));
    EXPECT_NEAR(loss.item(), g.loss, 1e-12);
    d = grad(loss, {e64, w64});
    expect_row(d[0], 1, g.embedding1, 1e-12);
    expect_row(d[1], 3, g.weight3, 1e-12);
  }
}

TEST(Head, RowsWithoutAClassAreLeftOut) {
  Head head({.classes = 5, .dim = 6}), same({.classes = 5, .dim = 6});
  Tensor e = waves(4, 6, 3, Dtype::f32).set_requires_grad();
  Tensor loss = head(e, {-1, 3, -1, 1});
  EXPECT_EQ(loss.item(), same(gather(e, labels_of({1, 3})), {3, 1}).item());
  auto g = grad(loss, {e})[0].values();
  for (int i : {0, 1, 2, 3, 4, 5, 12, 17}) EXPECT_EQ(g[i], 0) << i;
  EXPECT_NE(g[6], 0);
  Tensor nothing = head(e, Labels(4, -1));
  EXPECT_EQ(nothing.item(), 0);
  Tensors d = grad(nothing, {e, head.rows()});
  for (double x : d[0].values()) EXPECT_EQ(x, 0);
  Tensor before = head.tensors()["head.weight"].clone();
  head.step(d[1], {}, 0.1);
  EXPECT_EQ(before.values(), head.tensors()["head.weight"].values());
}

TEST(Head, StepsMakeTheEmbeddingsClassesLikelier) {
  Head head({.classes = 5, .dim = 6, .margin = {.m2 = 0.2, .scale = 8}});
  Tensor e = waves(4, 6, 3, Dtype::f32);
  SgdAttrs recipe;
  recipe.momentum = 0.9;
  double first = head(e, kLabels).item(), last = 0;
  for (int i = 0; i < 30; ++i) {
    Tensor loss = head(e, kLabels);
    last = loss.item();
    head.step(grad(loss, {head.rows()})[0], recipe, 0.01);
  }
  EXPECT_LT(last, first - 0.5);
}

TEST(Head, LabelsAndOptionsOutOfRangeAreRefused) {
  EXPECT_THROW(Head({.classes = 0}), Error);
  EXPECT_THROW(Head({.classes = 2, .sample_rate = 0}), Error);
  EXPECT_THROW(Head({.classes = 2, .sample_rate = 1.5}), Error);
  Head head({.classes = 5, .dim = 6}), sampled({.classes = 5, .dim = 6, .sample_rate = 0.4});
  EXPECT_THROW(head(waves(1, 6, 1, Dtype::f32), {5}), Error);
  EXPECT_THROW(sampled(waves(1, 6, 1, Dtype::f32), {5}), Error);
  EXPECT_THROW(head(waves(1, 6, 1, Dtype::f32), {-2}), Error);
  EXPECT_THROW(head(waves(2, 6, 1, Dtype::f32), {1}), Error);
  EXPECT_THROW(head(waves(1, 5, 1, Dtype::f32), {1}), Error);
}

TEST(PartialFc, EverySampleHoldsThePositivesAndIsAFunctionOfSeedAndStep) {
  std::set<Labels> different;
  std::vector<int> drawn(20);
  for (uint64_t step = 0; step < 400; ++step) {
    Labels s = sampled_classes({7, 3, 7, 19}, 20, 8, 5, step);
    ASSERT_EQ(s.size(), 8u);
    EXPECT_TRUE(std::is_sorted(s.begin(), s.end()));
    EXPECT_EQ(std::set<int64_t>(s.begin(), s.end()).size(), 8u) << "a class twice";
    for (int64_t c : {3, 7, 19}) EXPECT_TRUE(std::binary_search(s.begin(), s.end(), c));
    EXPECT_EQ(s, sampled_classes({19, 7, 3}, 20, 8, 5, step));
    different.insert(s);
    for (int64_t c : s) ++drawn[c];
  }
  EXPECT_GT(different.size(), 350u);
  EXPECT_NE(sampled_classes({}, 20, 8, 5, 0), sampled_classes({}, 20, 8, 6, 0));
  for (int c = 0; c < 20; ++c) {
    if (drawn[c] != 400) {
      EXPECT_NEAR(drawn[c], 400 * 5.0 / 17, 45) << "class " << c << ": five standard deviations";
    }
  }
  EXPECT_EQ(sampled_classes({4, 2, 9}, 20, 2, 5, 0), (Labels{2, 4, 9})) << "more positives than places: they alone";
  EXPECT_EQ(sampled_classes({}, 3, 3, 5, 0), (Labels{0, 1, 2}));
}

TEST(PartialFc, EachStepSeesTheClassesOfItsNumber) {
  Head head({.classes = 40, .dim = 6, .sample_rate = 0.25, .seed = 3});
  for (uint64_t step = 0; step < 4; ++step) {
    head(waves(2, 6, 3, Dtype::f32), {5, 17});
    EXPECT_EQ(head.classes(), sampled_classes({5, 17}, 40, 10, 3, step)) << step;
  }
  Head few({.classes = 5, .dim = 6, .sample_rate = 0.1});
  few(waves(1, 6, 3, Dtype::f32), {-1});
  EXPECT_EQ(few.classes().size(), 1u) << "never none";
}

TEST(Head, StartsWithTheDeviationOfThePublishedOne) {
  Head head({.classes = 100, .dim = 100});
  double squares = 0;
  for (double w : head.tensors()["head.weight"].values()) squares += w * w;
  EXPECT_NEAR(std::sqrt(squares / 1e4), 0.01, 3e-4);
}

TEST(Head, MomentumIsKeptFromStepToStep) {
  Head head({.classes = 6, .dim = 4});
  SgdAttrs recipe;
  recipe.momentum = 0.9, recipe.weight_decay = 0.01, recipe.first = 0;
  Tensor w = head.tensors()["head.weight"].clone(), v = Tensor::zeros(w.shape());
  const Tensor gradient = waves(6, 4, 2, Dtype::f32);
  for (int step = 0; step < 3; ++step) {
    head(waves(3, 4, 3, Dtype::f32), {1, 3, 4});
    head.step(gradient, recipe, 0.1);
    auto next = sgd_step(w, gradient, v, recipe, 0.1);
    w = next.w, v = next.v;
    EXPECT_EQ(head.tensors()["head.weight"].values(), w.values()) << step;
    EXPECT_EQ(head.tensors()["head.velocity"].values(), v.values()) << step;
  }
}

TEST(PartialFc, OnlySampledRowsMoveAndGetMomentum) {
  Head head({.classes = 40, .dim = 6, .sample_rate = 0.25, .seed = 3});
  Tensor e = waves(4, 6, 3, Dtype::f32).set_requires_grad();
  SgdAttrs recipe;
  recipe.momentum = 0.9, recipe.weight_decay = 0.01;
  std::vector<bool> touched(40);
  for (int step = 0; step < 3; ++step) {
    auto before = head.tensors()["head.weight"].values();
    Tensor loss = head(e, {0, 33, 33, 21});
    ASSERT_EQ(head.classes().size(), 10u);
    ASSERT_EQ(head.rows().shape(), Shape({10, 6}));
    for (int64_t c : head.classes()) touched[c] = true;
    head.step(grad(loss, {head.rows()})[0], recipe, 0.1);
    auto after = head.tensors()["head.weight"].values(), velocity = head.tensors()["head.velocity"].values();
    for (int64_t c = 0; c < 40; ++c) {
      bool sampled = std::binary_search(head.classes().begin(), head.classes().end(), c);
      for (int k = 0; k < 6; ++k) {
        EXPECT_EQ(before[c * 6 + k] != after[c * 6 + k], sampled) << c;
        if (sampled) {
          EXPECT_NE(velocity[c * 6 + k], 0) << c;
        }
        if (!touched[c]) {
          EXPECT_EQ(velocity[c * 6 + k], 0) << c;
        }
      }
    }
  }
}

TEST(PartialFc, TheLossIsThatOfASmallHeadWithTheSampledRows) {
  Head head({.classes = 40, .dim = 6, .sample_rate = 0.25});
  Tensor e = waves(3, 6, 3, Dtype::f32);
  double loss = head(e, {5, 17, 30}).item();
  auto& c = head.classes();
  auto at = [&](int64_t label) { return std::lower_bound(c.begin(), c.end(), label) - c.begin(); };
  Head small({.classes = 10, .dim = 6});
  small.tensors()["head.weight"].assign(gather(head.tensors()["head.weight"], labels_of(c)));
  EXPECT_EQ(loss, small(e, {at(5), at(17), at(30)}).item());
}

TEST(PartialFc, AResumedHeadGoesOnWithTheSameBits) {
  HeadOptions o{.classes = 40, .dim = 6, .sample_rate = 0.3};
  SgdAttrs recipe;
  recipe.momentum = 0.9;
  Tensor e = waves(4, 6, 3, Dtype::f32);
  auto train = [&](Head& head, int steps) {
    for (int i = 0; i < steps; ++i) {
      Tensor loss = head(e, {1, 2, 2, 39});
      head.step(grad(loss, {head.rows()})[0], recipe, 0.1);
    }
    return head.tensors()["head.weight"].values();
  };
  Head through(o), first(o);
  auto want = train(through, 5);
  train(first, 2);
  TensorMap saved = first.state();
  train(first, 1);  // the state is a copy
  o.seed = 1;
  Head second(o);
  second.load_state(saved);
  EXPECT_EQ(train(second, 3), want);
  saved.erase("head.velocity");
  EXPECT_THROW(second.load_state(saved), Error);
  EXPECT_THROW(Head({.classes = 39, .dim = 6}).load_state(first.state()), Error);
}

TEST(Head, JoinsDistillationInOneLoss) {
  Ekd ekd({.start = EkdOptions::Start::first_batch});
  Head head({.classes = 5, .dim = 6});
  Tensor e = waves(4, 6, 3, Dtype::f32).set_requires_grad(), teacher = waves(4, 6, 2.5, Dtype::f32);
  Tensor loss = add(ekd(e, teacher, kLabels).loss, head(e, {0, 3, -1, -1}));
  Tensors g = grad(loss, {e, head.rows()});
  ASSERT_TRUE(g[0] && g[1]);
  for (const Tensor& t : g)
    for (double x : t.values()) EXPECT_TRUE(std::isfinite(x));
}

}  // namespace
}  // namespace vitrine::losses
