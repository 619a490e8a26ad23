// The operators that stand for chains behind a BatchNorm give the bits of these chains: values, gradients, and the states they update.
#include <gtest/gtest.h>

#include "engine/core/parallel.h"
#include "engine/graph/rewrite.h"
#include "engine/ops.h"
#include "nn/network.h"
#include "quant/ops/norm_chain.h"
#include "quant/placement.h"
#include "tests/recipe.h"

namespace vitrine::quant {
namespace {

// Bits of the embeddings, of gradients, and of the states.
using Outcome = std::map<std::string, std::vector<float>>;
void expect_equal(const Outcome& a, const Outcome& b) {
  ASSERT_EQ(a.size(), b.size());
  for (auto& [name, values] : a) {
    EXPECT_TRUE(std::ranges::all_of(values, [](float v) { return std::isfinite(v); })) << name;
    EXPECT_TRUE(b.count(name) && b.at(name) == values) << name;
  }
}

Tensor images(const Graph& g, int64_t n) {
  Shape shape = g.values[g.inputs[0]].meta.shape;
  shape[0] = n;
  uint64_t seed = recipe::fnv1a64("chains");
  return recipe::filled(shape, [&](int64_t i) { return 2 * recipe::u01(seed, i) - 1; });
}

// Two steps, so that the second starts from the states of the first.
Outcome train(const Model& model, const Graph& g) {
  Model own = clone(model);
  Tensors parameters;
  std::vector<std::string> names = nn::trainable(own);
  for (auto& name : names) parameters.push_back(own.tensors.at(name).set_requires_grad());
  Outcome out;
  for (int step = 0; step < 2; ++step) {
    Tensor y = run(g, own.tensors, {images(g, 4)})[0];
    out["embedding"] = y.values<float>();
    Tensors gradients = grad(sum(mul(y, recipe::filled(y.shape(), [](int64_t i) { return 1 + 0.01 * double(i % 7); }))), parameters);
    for (size_t i = 0; i < names.size(); ++i) out["d " + names[i]] = gradients[i].values<float>();
  }
  for (auto& [name, t] : own.tensors) out[name] = t.values<float>();
  return out;
}

int count_of(const Graph& g, const std::string& op) {
  return static_cast<int>(std::count_if(g.nodes.begin(), g.nodes.end(), [&](auto& n) { return n.op->name == op; }));
}

Model network(const std::string& name) {
  nn::NetworkOptions o{32, 32, name == "mobilefacenet" ? 1.0 : 1.0 / 16, 16};
  return nn::make_model(name, 3, o);
}

class QuantChains : public ::testing::TestWithParam<std::string> {};

TEST_P(QuantChains, GiveTheBitsOfTheirPartsWhileRangesFollowAndWhenTheyAreFrozen) {
  Model teacher = network(GetParam()), student = quantface(teacher, {6, 6});
  Graph frozen = with_batch_statistics(student.graph), plain = with_batch_statistics(teacher.graph);
  run(with_running_ranges(frozen), student.tensors, {images(frozen, 4)});
  for (const Graph& parts : {frozen, with_running_ranges(frozen)}) {
    Graph chains = with_norm_chains(parts);
    EXPECT_EQ(count_of(chains, "prelu"), 0);
    EXPECT_EQ(count_of(chains, "observe") + count_of(chains, "fake_quant"), 0);
    expect_equal(train(student, chains), train(student, parts));
  }
  EXPECT_GT(count_of(with_norm_chains(plain), "batch_norm_add"), 0);
  expect_equal(train(teacher, with_norm_chains(plain)), train(teacher, plain));
}

TEST_P(QuantChains, GiveTheBitsOfTheirPartsWhereConvolutionsAreInBf16) {
  Model student = quantface(network(GetParam()), {6, 6});
  const Graph parts = with_bf16_convolutions(with_running_ranges(with_batch_statistics(student.graph))), chains = with_norm_chains(parts);
  EXPECT_GT(count_of(parts, "cast"), 2);
  EXPECT_LE(count_of(chains, "cast"), 2) << "only what no BatchNorm is in front of, as the image, is cast by itself";
  expect_equal(train(student, chains), train(student, parts));
}

INSTANTIATE_TEST_SUITE_P(, QuantChains, ::testing::Values("iresnet18", "mobilefacenet"), [](const auto& info) { return info.param; });

TEST(QuantChainRules, LeaveOtherObserversAndClippedGradientsTheirOperators) {
  Model student = quantface(network("iresnet18"), {6, 6});
  Graph train = with_batch_statistics(student.graph);
  ObserveAttrs rule;
  rule.rule = ObserveAttrs::ema;
  int quantizers = count_of(train, "fake_quant");
  for (const Graph& parts : {with_running_ranges(train, rule), with_clipped_gradients(with_running_ranges(train))}) {
    Graph chains = with_norm_chains(parts);
    EXPECT_EQ(count_of(chains, "fake_quant"), quantizers);
    EXPECT_EQ(count_of(chains, "observe"), quantizers);
    EXPECT_EQ(count_of(chains, "prelu"), 0);
  }
}

TEST(QuantChainRules, AValueThatIsReadElsewhereStaysAValue) {
  Tensor x = recipe::filled({4, 3}, [](int64_t i) { return 0.1 * double(i * i % 11); }), one = Tensor::full({3}, 1),
         zero = Tensor::zeros({3});
  Graph g = trace({{"one", one, Value::Kind::parameter}, {"zero", zero, Value::Kind::parameter}}, x, [&](const Tensor& x) {
    Tensor v = batch_norm_train(x, one, zero, zero, one).y;
    return add(prelu(v, zero), v);
  });
  Graph chains = with_norm_chains(g);
  EXPECT_EQ(print(chains), print(g));
}

}  // namespace
}  // namespace vitrine::quant
