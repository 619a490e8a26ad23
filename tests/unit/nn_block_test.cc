// One IBasicBlock (4 -> 6 channels, stride 2) and the final BatchNorm1d in f64 against the published code: forward, all gradients and
// running statistics, in evaluation and in training.
#include <gtest/gtest.h>
#include <algorithm>

#include <nlohmann/json.hpp>

#include "nn/iresnet.h"
#include "tests/golden.h"
#include "tests/recipe.h"

namespace vitrine {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-10;

json expected() { return json::parse(read_file(golden("nn/iblock_train.json"))); }

void expect_near(const Tensor& got, const json& want, const std::string& what) {
  auto v = got.values();
  auto w = want.get<std::vector<double>>();
  ASSERT_EQ(v.size(), w.size()) << what;
  double worst = 0;
  for (size_t i = 0; i < v.size(); ++i) worst = std::max(worst, std::abs(v[i] - w[i]));
  EXPECT_LE(worst, kTolerance) << what;
}

Tensor uniform(const std::string& name, Shape s) {
  uint64_t seed = recipe::fnv1a64(name);
  return recipe::filled(s, [&](int64_t i) { return 2 * recipe::u01(seed, i) - 1; }).to(Dtype::f64);
}

Tensor in_their_order(const Tensor& t) { return t.shape().rank() == 4 ? recipe::to_nchw(t) : t; }

class NnBlock : public ::testing::TestWithParam<bool> {};

TEST_P(NnBlock, ForwardGradientsAndRunningStatisticsAgreeInDouble) {
  bool training = GetParam();
  json all = expected(), want = all[training ? "train" : "eval"];
  nn::IBasicBlock block(4, 6, 2);
  block.train(training);
  auto state = recipe::state_dict(block, [](const std::string& name, const Shape& s, int) { return recipe::weight_g("blk." + name, s); });
  auto members = nn::named_members(block);
  Tensors wrt;
  for (size_t i = 0; i < members.size(); ++i) {
    Tensor t = state.entries[i].second;
    if (members[i].role == nn::Role::batches) continue;
    *members[i].tensor = (t.shape().rank() == 4 ? recipe::to_nhwc(t) : t).to(Dtype::f64);
    if (members[i].trainable) wrt.push_back(members[i].tensor->set_requires_grad());
  }
  Tensor x = recipe::to_nhwc(uniform("blk.x", {3, 4, 7, 7})), g = recipe::to_nhwc(uniform("blk.g", {3, 6, 4, 4}));
  wrt.push_back(x.set_requires_grad());

  Tensor y = block.forward(x), loss = sum(mul(y, g));
  EXPECT_EQ(recipe::to_nchw(y).shape(), Shape(want["out_shape"].get<std::vector<int64_t>>()));
  expect_near(recipe::to_nchw(y), want["out"], "out");
  EXPECT_NEAR(loss.item(), want["loss"], kTolerance);

  Tensors grads = grad(loss, wrt);
  size_t k = 0;
  for (auto& member : members)
    if (member.trainable) expect_near(in_their_order(grads[k++]), want["grads"][member.name], member.name);
  EXPECT_EQ(k, want["grads"].size());
  expect_near(recipe::to_nchw(grads[k]), want["grad_x"], "x");

  size_t checked = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    if (!nn::is_buffer(members[i].role)) continue;
    if (training) {
      json after = want["running_after"][members[i].name];
      expect_near(*members[i].tensor, after.is_array() ? after : json::array({after}), members[i].name);
      ++checked;
    } else {
      EXPECT_EQ(members[i].tensor->values(), state.entries[i].second.values()) << members[i].name << " was changed by evaluation";
    }
  }
  EXPECT_EQ(checked, training ? 12u : 0u);
}

INSTANTIATE_TEST_SUITE_P(, NnBlock, ::testing::Bool(), [](const auto& info) { return info.param ? "Training" : "Evaluation"; });

TEST(NnBatchNorm, TheHeadTrainsOnBatchStatisticsAndKeepsUnbiasedRunningVariance) {
  json want = expected()["bn1d_train"];
  auto tensor = [&](const char* name, Shape s) { return Tensor::from(s, want[name].get<std::vector<double>>()); };
  nn::BatchNorm bn(5, false);
  bn.train(true);
  bn.gamma = bn.gamma.to(Dtype::f64), bn.mean = bn.mean.to(Dtype::f64), bn.var = bn.var.to(Dtype::f64);
  bn.beta = tensor("bias", {5}).set_requires_grad();
  Tensor x = tensor("x", {4, 5}).set_requires_grad(), y = bn.forward(x);
  expect_near(y, want["out"], "out");
  Tensors grads = grad(sum(mul(y, tensor("g", {4, 5}))), {x, bn.beta});
  expect_near(grads[0], want["grad_x"], "x");
  expect_near(grads[1], want["grad_bias"], "bias");
  expect_near(bn.mean, want["running_mean"], "running_mean");
  expect_near(bn.var, want["running_var"], "running_var");
  EXPECT_EQ(bn.batches.item<int64_t>(), 1);
}

TEST(NnBatchNorm, TrainingOnOneValuePerChannelIsRefused) {
  nn::BatchNorm bn(3);
  bn.train(true);
  EXPECT_THROW(bn.forward(Tensor::zeros({1, 3})), Error);
  EXPECT_EQ(bn.batches.item<int64_t>(), 0);
}

TEST(NnModule, OnlyTrainableMembersAreTrainableAndTrainReachesEveryChild) {
  nn::IResNet net({{1, 1, 1, 1}, 32, 32, 1.0 / 16, 8});
  net.train(true);
  EXPECT_TRUE(net.training());
  EXPECT_TRUE(static_cast<nn::IBasicBlock&>(*net.layers[3].children[0]).downsample.children[1]->training());
  net.train(false);
  EXPECT_FALSE(static_cast<nn::IBasicBlock&>(*net.layers[3].children[0]).downsample.children[1]->training());
}

}  // namespace
}  // namespace vitrine
