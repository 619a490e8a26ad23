// Lowering of graphs that no network here has but an imported one may: what the integer layer has no place for stays behind it.
#include <gtest/gtest.h>

#include "engine/ops.h"
#include "quant/lower.h"
#include "quant/ops/fake_quant.h"
#include "tests/recipe.h"

namespace vitrine::quant {
namespace {

Tensor random(Shape s, uint64_t stream) {
  return recipe::filled(s, [=](int64_t i) { return 2 * recipe::u01(stream, i) - 1; });
}

// A graph of the tensors that `forward` is given by name, and its input.
struct Hand {
  TensorMap tensors{{"w", random({4, 1, 1, 4}, 1)},
                    {"square", random({4, 4}, 2)},
                    {"slope", random({4}, 3)},
                    {"other", random({4}, 4)},
                    {"one", Tensor::from({1}, std::vector<float>{0.3f})},
                    {"r", Tensor::from({2}, std::vector<float>{-1, 1})},
                    {"r2", Tensor::from({2}, std::vector<float>{-0.8f, 1.2f})}};
  const Tensor& operator[](const std::string& name) const { return tensors.at(name); }
  Tensor stored(const Tensor& x, const char* range = "r") const { return fake_quant(x, (*this)[range], 8); }
  Tensor layer(const Tensor& x) const { return conv2d(x, fake_quant_weight((*this)["w"], 8, true)); }

  // The result on integers is that of the graph, but for f32's rounding; how often each operator is left.
  std::map<std::string, int> lowered(Shape shape, const std::function<Tensor(const Tensor&)>& forward) const {
    std::vector<NamedTensor> named;
    for (auto& [name, t] : tensors) named.push_back({name, t, Value::Kind::parameter});
    const Model m{trace(named, Tensor::zeros(shape), forward), tensors, {}}, packed = lower(m);
    const Tensor x = random(shape, 9);
    const auto got = run(packed.graph, packed.tensors, {x})[0].values(), want = run(m.graph, m.tensors, {x})[0].values();
    EXPECT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5) << i;
    std::map<std::string, int> count;
    for (const GraphNode& n : packed.graph.nodes) ++count[n.op->name];
    return count;
  }
};

TEST(LoweringByHand, OneResidualIsTakenOverTheSecondIsAdded) {
  const Hand h;
  auto ops = h.lowered({2, 3, 3, 4}, [&](const Tensor& x) {
    const Tensor a = h.stored(x), b = h.stored(x, "r2");
    return add(add(h.layer(a), a), b);
  });
  EXPECT_EQ(ops["qconv2d"], 1);
  EXPECT_EQ(ops["add"], 1);
}

TEST(LoweringByHand, ASumThatBroadcastsIsNoResidual) {
  const Hand h;
  auto ops = h.lowered({2, 3, 3, 4}, [&](const Tensor& x) {
    const Tensor a = h.stored(x);
    return add(h.layer(a), h.stored(mean(a, {1, 2}, true), "r2"));
  });
  EXPECT_EQ(ops["qconv2d"], 1);
  EXPECT_EQ(ops["add"], 1);
}

TEST(LoweringByHand, OnePreluIsTakenOver) {
  const Hand h;
  auto ops = h.lowered({2, 3, 3, 4}, [&](const Tensor& x) { return prelu(prelu(h.layer(h.stored(x)), h["slope"]), h["other"]); });
  EXPECT_EQ(ops["qconv2d"], 1);
  EXPECT_EQ(ops["prelu"], 1);
}

TEST(LoweringByHand, ABiasOfOneNumberIsOneForEveryChannel) {
  const Hand h;
  auto ops = h.lowered({2, 3, 3, 4}, [&](const Tensor& x) { return add(h.layer(h.stored(x)), h["one"]); });
  EXPECT_EQ(ops["add"], 0);
}

TEST(LoweringByHand, AMatrixWhoseRowsAreInputsStaysFloat) {
  const Hand h;
  auto ops = h.lowered({5, 4}, [&](const Tensor& x) { return matmul(h.stored(x), fake_quant_weight(h["square"], 8, true)); });
  EXPECT_EQ(ops["qconv2d"], 0);
  EXPECT_EQ(ops["matmul"], 1);
}

}  // namespace
}  // namespace vitrine::quant
