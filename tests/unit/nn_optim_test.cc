// Stochastic gradient descent against steps worked out by hand, and training that does not depend on the number of threads.
#include <gtest/gtest.h>

#include <cstring>

#include "engine/core/parallel.h"
#include "engine/graph/rewrite.h"
#include "losses/distill.h"
#include "nn/network.h"
#include "nn/optim.h"
#include "quant/placement.h"
#include "tests/recipe.h"

namespace vitrine::nn {
namespace {

Tensor list(const std::vector<double>& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v); }

TEST(NnSgd, TwoNesterovStepsWithDecayAreThoseWorkedOutByHand) {
  TensorMap t{{"w", list({1})}};
  Sgd sgd(t, {"w"}, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01});
  sgd.step({list({0.5})});  // g = .51, v = .51, w = 1 - .1 (.51 + .9 .51)
  EXPECT_NEAR(t["w"].item(), 0.9031, 1e-15);
  sgd.step({list({-0.2})});  // g = -.2 + .01 .9031 = -.190969, v = .459 - .190969 = .268031, w -= .1 (-.190969 + .9 .268031)
  EXPECT_NEAR(t["w"].item(), 0.89807411, 1e-15);
}

TEST(NnSgd, PlainMomentumTakesTheVelocityItself) {
  TensorMap t{{"w", list({1})}};
  Sgd sgd(t, {"w"}, {.lr = 0.5, .momentum = 0.5, .weight_decay = 0, .nesterov = false});
  sgd.step({list({1})});
  EXPECT_EQ(t["w"].item(), 0.5);
  sgd.step({list({0})});  // v = .5
  EXPECT_EQ(t["w"].item(), 0.25);
  sgd.set_lr(2);
  sgd.step({list({0})});  // v = .25
  EXPECT_EQ(t["w"].item(), -0.25);
}

TEST(NnSgd, ClippingScalesTheGradientByTheGlobalNormBeforeDecay) {
  TensorMap t{{"a", list({1, 1})}, {"b", list({1})}};
  SgdOptions o{.lr = 1, .momentum = 0, .weight_decay = 0.25, .nesterov = false, .clip = 1};
  EXPECT_EQ(Sgd(t, {"a", "b"}, o).step({list({2, 3}), list({6})}), 7) << "the norm over all parameters, before clipping";
  double scale = 1 / (7 + 1e-6);
  EXPECT_NEAR(t["a"].values()[0], 1 - (2 * scale + 0.25), 1e-15);
  EXPECT_NEAR(t["a"].values()[1], 1 - (3 * scale + 0.25), 1e-15);
  EXPECT_NEAR(t["b"].item(), 1 - (6 * scale + 0.25), 1e-15);
}

TEST(NnSgd, ASmallGradientIsNotClipped) {
  TensorMap t{{"w", list({0})}};
  SgdOptions o{.lr = 1, .momentum = 0, .weight_decay = 0, .clip = 5};
  EXPECT_EQ(Sgd(t, {"w"}, o).step({list({-3})}), 3);
  EXPECT_EQ(t["w"].item(), 3);
}

TEST(NnSgd, AParameterWithoutAGradientStaysAndKeepsItsVelocity) {
  TensorMap t{{"a", list({1})}, {"b", list({1})}};
  Sgd sgd(t, {"a", "b"}, {.lr = 0.1, .momentum = 0.5, .weight_decay = 0.5, .nesterov = false});
  sgd.step({list({1}), {}});
  EXPECT_EQ(t["b"].item(), 1) << "not even decayed";
  double a = t["a"].item();
  sgd.step({{}, list({1})});
  EXPECT_EQ(t["a"].item(), a);
  EXPECT_NEAR(t["b"].item(), 1 - 0.1 * 1.5, 1e-15) << "its first step: velocity is the gradient";
  sgd.step({list({0}), {}});
  EXPECT_NEAR(t["a"].item(), a - 0.1 * (0.5 * 1.5 + 0.5 * a), 1e-15) << "velocity 1.5 of the first step";
}

TEST(NnSgd, ParametersAreUpdatedInPlaceSoThatTheModelSeesThem) {
  TensorMap t{{"w", list({1})}, {"frozen", list({1})}};
  Tensor held = t["w"];
  Sgd sgd(t, {"w"}, {});
  EXPECT_TRUE(t["w"].requires_grad());
  EXPECT_FALSE(t["frozen"].requires_grad());
  sgd.step(grad(sum(square(t["w"])), sgd.parameters()));
  EXPECT_LT(held.item(), 1);
  EXPECT_TRUE(held.shares(t["w"]));
  EXPECT_FALSE(sum(t["frozen"]).requires_grad());
}

TEST(NnSgd, UnknownNamesAndWrongCountsAreRefused) {
  TensorMap t{{"w", list({1})}};
  EXPECT_THROW(Sgd(t, {"v"}, {}), Error);
  Sgd sgd(t, {"w"}, {});
  EXPECT_THROW(sgd.step({}), Error);
  EXPECT_THROW(sgd.step({list({1, 2})}), Error);
}

TEST(NnSgd, TheNormCountsEmptyTensorsAsNothing) {
  EXPECT_EQ(norm({list({3}), {}, list({4})}), 5);
  EXPECT_EQ(norm({}), 0);
}

// Three steps of quantization-aware distillation: every operator of training, forwards and backwards.
Model trained(int threads_to_use, uint64_t seed) {
  int before = threads();
  set_threads(threads_to_use);
  NetworkOptions tiny{32, 32, 1.0 / 16, 16};
  Model teacher = make_model("iresnet18", 11, tiny), student = quant::quantface(make_model("iresnet18", seed, tiny), {6, 6});
  Graph training = with_batch_statistics(quant::with_running_ranges(student.graph));
  Sgd sgd(student.tensors, trainable(student), {.lr = 0.05, .clip = 5});
  for (int step = 0; step < 3; ++step) {
    uint64_t stream = recipe::fnv1a64(cat("batch", step));
    Tensor x = recipe::filled({8, 32, 32, 3}, [&](int64_t i) { return 2 * recipe::u01(stream, i) - 1; });
    Tensor target;
    {
      NoGrad quiet;
      target = run(teacher.graph, teacher.tensors, {x})[0];
    }
    sgd.step(grad(losses::embedding_mse(run(training, student.tensors, {x})[0], target), sgd.parameters()));
  }
  set_threads(before);
  return student;
}
std::vector<unsigned char> bytes(const Model& m) {
  std::vector<unsigned char> all;
  for (auto& [name, t] : m.tensors) {
    auto* p = static_cast<unsigned char*>(t.raw());
    all.insert(all.end(), p, p + t.meta().nbytes());
  }
  return all;
}

TEST(NnTraining, ThreeStepsGiveTheSameBitsAgainAndWithTwoThreads) {
  auto once = bytes(trained(1, 5));
  EXPECT_EQ(once, bytes(trained(1, 5))) << "a second run";
  EXPECT_EQ(once, bytes(trained(2, 5))) << "two threads";
  EXPECT_EQ(once, bytes(trained(3, 5))) << "three threads";
  EXPECT_NE(once, bytes(trained(1, 6))) << "another seed";
}

TEST(NnTraining, ChangesEveryTrainableTensorAndNoFrozenOne) {
  Model start = quant::quantface(make_model("iresnet18", 5, {32, 32, 1.0 / 16, 16}), {6, 6}), end = trained(2, 5);
  auto names = trainable(start);
  for (auto& [name, t] : start.tensors) {
    bool parameter = start.graph.values[start.graph.find(name)].kind == Value::Kind::parameter;
    bool trains = std::count(names.begin(), names.end(), name) > 0;
    if (parameter && !trains)
      EXPECT_EQ(t.values(), end.tensors[name].values()) << name;
    else
      EXPECT_NE(t.values(), end.tensors[name].values()) << name;
    for (double v : end.tensors[name].values()) ASSERT_TRUE(std::isfinite(v)) << name;
  }
}

}  // namespace
}  // namespace vitrine::nn
