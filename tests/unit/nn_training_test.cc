// What a training run needs besides SGD: AdamW and resuming, learning rates, dropout.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/core/parallel.h"
#include "engine/graph/rewrite.h"
#include "losses/distill.h"
#include "nn/network.h"
#include "nn/optim.h"
#include "tests/recipe.h"

namespace vitrine::nn {
namespace {

Tensor list(const std::vector<double>& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v); }

TEST(NnAdamW, ThreeStepsAreThoseOfPyTorch) {
  TensorMap t{{"w", list({1, -2})}};
  AdamW adam(t, {"w"}, {.lr = 0.01, .weight_decay = 0.1});
  const std::vector<double> gradients[] = {{0.5, -0.25}, {-0.125, 2}, {0.75, 0}}, want[] = {{0.9890000002, -1.9880000004},
                                                                                            {0.9833163186165707, -1.9925652665156164},
                                                                                            {0.9750125579723784, -1.9956383949421928}};
  for (int i = 0; i < 3; ++i) {
    adam.step({list(gradients[i])});
    for (int k = 0; k < 2; ++k) EXPECT_NEAR(t["w"].values()[k], want[i][k], 1e-15) << i;
  }
  TensorMap s = adam.state();
  EXPECT_NEAR(s["w.exp_avg"].values()[0], 0.10425, 1e-16);
  EXPECT_NEAR(s["w.exp_avg_sq"].values()[1], 0.004058375062500004, 1e-17);
  EXPECT_EQ(s["w.step"].item<int64_t>(), 3);
}

TEST(NnAdamW, AParameterWithoutAGradientStaysAndCountsNoStep) {
  TensorMap t{{"a", list({1})}, {"b", list({1})}};
  AdamW adam(t, {"a", "b"}, {});
  adam.step({list({1}), {}});
  EXPECT_EQ(t["b"].item(), 1);
  EXPECT_EQ(adam.state().count("b.step"), 0u);
  adam.step({{}, list({1})});
  EXPECT_EQ(t["a"].item(), t["b"].item()) << "the first step of b is that of a";
}

TEST(NnAdamW, ClippingScalesTheGradient) {
  TensorMap a{{"w", list({1, 1})}}, b = {{"w", list({1, 1})}};
  AdamW clipped(a, {"w"}, {.eps = 1, .clip = 1}), plain(b, {"w"}, {.eps = 1});
  EXPECT_EQ(clipped.step({list({3, 4})}), 5);
  plain.step({list({3 / (5 + 1e-6), 4 / (5 + 1e-6)})});
  EXPECT_NEAR(a["w"].values()[0], b["w"].values()[0], 1e-15);
}

template <class Optimiser>
void expect_resumes() {
  auto gradients = [](int step) {  // c has none before the state is loaded
    return Tensors{list({std::sin(step), 1, -2}), step % 2 ? Tensor{} : list({0.5}), step < 4 ? Tensor{} : list({0.25})};
  };
  auto start = [] { return TensorMap{{"a", list({1, 2, 3})}, {"b", list({4})}, {"c", list({5})}}; };
  const std::vector<std::string> names{"a", "b", "c"};
  TensorMap whole = start(), half = start();
  Optimiser through(whole, names, {}), first(half, names, {});
  for (int i = 0; i < 6; ++i) through.step(gradients(i));
  for (int i = 0; i < 3; ++i) first.step(gradients(i));
  TensorMap saved = first.state(), rest = {{"a", half["a"].clone()}, {"b", half["b"].clone()}, {"c", half["c"].clone()}};
  first.step(gradients(3));  // the state is a copy
  Optimiser second(rest, names, {});
  second.load_state(saved);
  for (int i = 3; i < 6; ++i) second.step(gradients(i));
  EXPECT_EQ(rest["a"].values(), whole["a"].values());
  EXPECT_EQ(rest["b"].values(), whole["b"].values());
  EXPECT_EQ(rest["c"].values(), whole["c"].values());

  TensorMap other{{"c", list({1, 2, 3})}}, narrow{{"a", list({1, 2})}, {"b", list({1})}};
  EXPECT_THROW(Optimiser(other, {"c"}, {}).load_state(saved), Error) << "another network's";
  EXPECT_THROW(Optimiser(narrow, {"a", "b"}, {}).load_state(saved), Error) << "another shape";
  for (auto& [name, tensor] : rest) tensor = tensor.to(Dtype::f32);
  EXPECT_THROW(Optimiser(rest, names, {}).load_state(saved), Error) << "another dtype";
}
TEST(NnOptimiserState, AResumedSgdGoesOnWithTheSameBits) { expect_resumes<Sgd>(); }
TEST(NnOptimiserState, AResumedAdamWGoesOnWithTheSameBits) { expect_resumes<AdamW>(); }

TEST(NnOptimiserState, NamesAreThoseOfTheParametersAndAPartIsRefused) {
  TensorMap t{{"w", list({1})}};
  Sgd sgd(t, {"w"}, {});
  EXPECT_TRUE(sgd.state().empty());
  sgd.step({list({1})});
  EXPECT_EQ(sgd.state().begin()->first, "w.velocity");
  AdamW adam(t, {"w"}, {});
  adam.step({list({1})});
  TensorMap part = adam.state();
  part.erase("w.exp_avg");
  EXPECT_THROW(adam.load_state(part), Error);
  EXPECT_THROW(adam.load_state(sgd.state()), Error);
}

void expect_rates(const Schedule& s, int64_t total, const std::vector<double>& want, double tolerance) {
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(learning_rate(s, static_cast<int64_t>(i), total), want[i], tolerance) << "step " << i;
}

TEST(NnSchedule, PolynomialsAreThePublishedOnesWithAndWithoutWarmUp) {
  Schedule s{.kind = Schedule::Kind::polynomial};
  expect_rates(s, 10, {.1, .09, .08, .07, .06, .05, .04, .03, .02, .01, 0, 0}, 1e-15);
  s.warmup = 4;
  expect_rates(s, 10, {.1, .025, .05, .075, .1, .08333, .06667, .05, .03333, .01667, 0}, 5e-6);
  s.warmup = 0, s.power = 2;
  expect_rates(s, 10, {.1, .081, .064}, 1e-15);
}

TEST(NnSchedule, TheCosineIsPyTorchs) {
  expect_rates({.kind = Schedule::Kind::cosine, .floor = 0.01}, 10,
               {0.1, 0.09779754323328192, 0.09140576474687263, 0.08145033635316129, 0.06890576474687264, 0.055, 0.04109423525312737,
                0.028549663646838717, 0.01859423525312737, 0.012202456766718092, 0.01, 0.01},
               1e-15);
}

TEST(NnSchedule, StepsDivideAtTheirMilestonesAndAConstantStays) {
  expect_rates({.kind = Schedule::Kind::steps, .milestones = {2, 4}}, 6, {.1, .1, .01, .01, .001, .001, .001}, 1e-16);
  expect_rates({.warmup = 2}, 6, {.1, .05, .1, .1}, 1e-16);
  EXPECT_THROW(learning_rate({}, -1, 10), Error);
  EXPECT_THROW(learning_rate({.warmup = 11}, 1, 10), Error);
}

TEST(Dropout, KeepsTheExpectedShareScaledAndTheMaskIsThatOfSeedAndStep) {
  int64_t n = 100000;
  Tensor x = Tensor::full({n}, 1, Dtype::f64);
  auto at = [&](int64_t step, int64_t seed, double p = 0.4) {
    auto d = dropout(x, Tensor::full({}, static_cast<double>(step), Dtype::i64), p, seed);
    EXPECT_EQ(d.next_step.item<int64_t>(), step + 1);
    return d.y.values();
  };
  auto y = at(7, 3);
  int64_t kept = 0;
  for (double v : y) {
    ASSERT_TRUE(v == 0 || v == 1 / 0.6);
    kept += v != 0;
  }
  EXPECT_NEAR(kept, 0.6 * n, 5 * std::sqrt(0.24 * n));
  EXPECT_EQ(y, at(7, 3));
  EXPECT_NE(y, at(8, 3));
  EXPECT_NE(y, at(7, 4));
  EXPECT_EQ(at(7, 3, 0), x.values());
  EXPECT_THROW(at(7, 3, 1), Error);
}

TEST(Dropout, TheGradientUsesTheForwardsMaskAlsoAfterTheStepWasCounted) {
  Tensor x = list(std::vector<double>(64, 1)).set_requires_grad(), step = Tensor::full({}, 3, Dtype::i64);
  auto d = dropout(x, step, 0.5, 1);
  auto y = d.y.values();
  step.assign(d.next_step);
  EXPECT_EQ(grad(sum(d.y), {x})[0].values(), y);
}

const NetworkOptions kTiny{32, 32, 1.0 / 16, 16};
Tensor images() {
  return recipe::filled({4, 32, 32, 3}, [](int64_t i) { return 2 * recipe::u01(1, i) - 1; });
}

TEST(Dropout, StandsBeforeTheMatrixOfATrainingGraphAndCountsItsRuns) {
  Model m = make_model("iresnet18", 1, kTiny);
  Graph training = with_dropout(m.graph, 0.4, 9);
  int found = 0;
  for (size_t i = 0; i < training.nodes.size(); ++i)
    if (std::string(training.nodes[i].op->name) == "dropout") {
      ++found;
      EXPECT_STREQ(training.nodes[i - 1].op->name, "reshape");
      EXPECT_STREQ(training.nodes[i + 1].op->name, "matmul");
    }
  EXPECT_EQ(found, 1);
  EXPECT_EQ(m.graph.find(kDropoutStep), -1) << "the model itself has none";
  TensorMap tensors = m.tensors;
  EXPECT_THROW(run(training, tensors, {images()}), Error) << "the step is missing";
  tensors[kDropoutStep] = Tensor::zeros({}, Dtype::i64);
  auto first = run(training, tensors, {images()})[0].values(), second = run(training, tensors, {images()})[0].values();
  EXPECT_NE(first, second);
  EXPECT_EQ(tensors[kDropoutStep].item<int64_t>(), 2);
  tensors[kDropoutStep] = Tensor::zeros({}, Dtype::i64);
  EXPECT_EQ(run(training, tensors, {images()})[0].values(), first);
  EXPECT_NE(run(m.graph, m.tensors, {images()})[0].values(), first);
  EXPECT_EQ(hash(with_dropout(make_model("mobilefacenet", 1, {32, 32}).graph, 0.4, 9)),
            hash(make_model("mobilefacenet", 1, {32, 32}).graph))
      << "no matrix behind a flatten";
}

// Two steps of AdamW with dropout, then a network of the same bits from the states that a run keeps.
TEST(NnTraining, WithDropoutAndAdamWIsResumedBitForBit) {
  Model teacher = make_model("iresnet18", 11, kTiny), m = make_model("iresnet18", 2, kTiny);
  Graph training = with_dropout(with_batch_statistics(m.graph), 0.4, 9);
  Tensor target = run(teacher.graph, teacher.tensors, {images()})[0];
  auto steps = [&](TensorMap& tensors, AdamW& adam, int count) {
    for (int i = 0; i < count; ++i)
      adam.step(grad(losses::embedding_mse(run(training, tensors, {images()})[0], target), adam.parameters()));
    return tensors["conv1.weight"].values();
  };
  auto copy = [](const TensorMap& all) {
    TensorMap c;
    for (auto& [name, t] : all) c[name] = t.clone();
    return c;
  };
  TensorMap whole = copy(m.tensors);
  whole[kDropoutStep] = Tensor::zeros({}, Dtype::i64);
  TensorMap half = copy(whole);
  AdamW through(whole, trainable(m), {}), first(half, trainable(m), {});
  auto want = steps(whole, through, 4);
  steps(half, first, 2);
  TensorMap rest = copy(half);
  AdamW second(rest, trainable(m), {});
  second.load_state(first.state());
  set_threads(3);
  EXPECT_EQ(steps(rest, second, 2), want);
  set_threads(1);
}

}  // namespace
}  // namespace vitrine::nn
