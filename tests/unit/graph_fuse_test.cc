// The inference form of networks: what is left of a graph, that its bits stay or how far they move, and what must not be taken over.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "engine/core/parallel.h"
#include "engine/cpu/isa.h"
#include "engine/graph/fuse.h"
#include "engine/graph/rewrite.h"
#include "engine/ops.h"
#include "engine/ops/conv2d_chain.h"
#include "engine/ops/conv2d_fused.h"
#include "engine/ops/conv2d_winograd.h"
#include "quant/placement.h"
#include "tests/case.h"
#include "tests/recipe.h"

namespace vitrine {
namespace {

Tensor images(int64_t n, int64_t side = 32) {
  return recipe::filled({n, side, side, 3}, [](int64_t i) { return 2 * recipe::u01(5, i) - 1; });
}

// Small, but wide enough for Winograd, and every tensor random: BatchNorm does something.
Model small(const std::string& network) {
  Model m = nn::make_model(network, 1, {32, 32, network == "iresnet18" ? 0.25 : 1.0, 16});
  for (auto& [name, t] : m.tensors) t = recipe::weight_g(name, t.shape());
  return m;
}

std::map<std::string, int> census(const Graph& g) {
  std::map<std::string, int> ops;
  for (auto& n : g.nodes) ++ops[n.op->name];
  return ops;
}
int winograds(const Graph& g) {
  int count = 0;
  for (auto& n : g.nodes)
    if (std::string(n.op->name) == "conv2d_fused") count += static_cast<FusedConvAttrs&>(*n.attrs).winograd != 0;
  return count;
}
std::vector<float> embed(const Model& m, const Tensor& x) { return run(m.graph, m.tensors, {x})[0].values<float>(); }
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

TEST(Fuse, IResNetBecomesItsConvolutions) {
  using Ops = std::map<std::string, int>;
  const Model m = small("iresnet18"), f = fused(m);
  EXPECT_EQ(census(f.graph), (Ops{{"conv2d_fused", 22}, {"reshape", 2}})) << "the matrix is one, its flatten a view";
  EXPECT_EQ(winograds(f.graph), 10) << "stride 1, but for the stem and the last two, whose images are 2 x 2";
  EXPECT_EQ(count(f.graph).macs, count(m.graph).macs);
  EXPECT_EQ(f.info, m.info);
  const Model b = fused(m, Fusion::bits);
  EXPECT_EQ(census(b.graph), (Ops{{"conv2d_fused", 22}, {"reshape", 3}, {"batch_norm", 2}}))
      << "the last BatchNorm before the flatten, and features behind a bias, keep their own operators";
  EXPECT_EQ(winograds(b.graph), 0);
}

TEST(Fuse, FusionOfBitsKeepsEveryBit) {
  for (const char* network : {"iresnet18", "mobilefacenet", "mbf"}) {
    const Model m = small(network);
    EXPECT_TRUE(same_bits(embed(fused(m, Fusion::bits), images(3)), embed(m, images(3)))) << network;
  }
}

TEST(Fuse, GraphsWithQuantizersKeepEveryBit) {
  for (const char* network : {"iresnet18", "mobilefacenet"})
    for (auto place : {quant::quantface, quant::integer}) {
      Model q = place(small(network), quant::parse_bits("w6a6"));
      const Graph tracking = quant::with_running_ranges(q.graph);
      run(tracking, q.tensors, {images(4)});
      const Model f = fused(q);
      EXPECT_TRUE(same_bits(embed(f, images(3)), embed(q, images(3)))) << network;
      EXPECT_EQ(census(f.graph).count("fake_quant_weight"), 0u) << "weights are quantized once";
      EXPECT_EQ(census(f.graph)["fake_quant"], census(q.graph)["fake_quant"]);
    }
}

TEST(Fuse, FoldedAndByWinogradIsNearTheGraph) {
  for (const char* network : {"iresnet18", "mobilefacenet", "mbf"}) {
    const Model m = small(network);
    auto want = embed(m, images(3)), got = embed(fused(m), images(3));
    ASSERT_EQ(want.size(), got.size());
    EXPECT_NE(want, got) << network << ": nothing was folded";
    double norm = 0, error = 0;
    for (size_t i = 0; i < want.size(); ++i)
      norm = std::max<double>(norm, std::abs(want[i])), error = std::max<double>(error, std::abs(want[i] - got[i]));
    EXPECT_LE(error, 1e-4 * norm) << network;
  }
}

TEST(Fuse, AnInvertedBottleneckIsOneChain) {
  auto links = [](const Graph& g) {
    std::vector<size_t> all;
    for (auto& n : g.nodes)
      if (is(n, "conv2d_chain")) all.push_back(static_cast<ConvChainAttrs&>(*n.attrs).links.size());
    return all;
  };
  const Model b = fused(small("mobilefacenet"));
  EXPECT_EQ(links(b.graph), (std::vector<size_t>{5, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3}))
      << "the stem's depthwise convolution reads on into the first block; the last chain is the global one";
  EXPECT_EQ(census(b.graph).count("conv2d_fused"), 0u);
  EXPECT_EQ(links(fused(small("iresnet18")).graph), std::vector<size_t>{}) << "nothing depthwise";
}

TEST(Fuse, StripsOfAChainHaveTheBitsOfItsLinks) {
  Model m = nn::make_model("mobilefacenet", 1);
  for (auto& [name, t] : m.tensors) t = recipe::weight_g(name, t.shape());
  const Model chains = fused(m, Fusion::bits);
  const Tensor x = images(1, 112);
  const auto want = embed(m, x);
  const int before = threads();
  for (int count : {1, 2, 5, 40}) {
    set_threads(count);
    EXPECT_TRUE(same_bits(embed(chains, x), want)) << count << " threads";
  }
  set_threads(before);
}

TEST(Fuse, BitsDoNotDependOnBatchThreadsOrInstructionSet) {
  const Model m = fused(small("iresnet18"));
  const int before = threads();
  auto want = embed(m, images(5));
  for (cpu::Isa level : {cpu::Isa::plain, cpu::Isa::avx2, cpu::Isa::avx512})
    for (int count : {1, 3}) {
      cpu::set_isa(level), set_threads(count);
      EXPECT_EQ(embed(m, images(5)), want) << cpu::name(level) << ", " << count << " threads";
    }
  cpu::set_isa(cpu::best_isa()), set_threads(before);
  auto one = embed(m, images(1));
  EXPECT_EQ(one, std::vector<float>(want.begin(), want.begin() + 16)) << "alone";
  EXPECT_EQ(run(m.graph, m.tensors, {images(0)})[0].shape(), Shape({0, 16}));
}

// A network of a few calls, by hand.
struct Hand {
  std::vector<NamedTensor> named;
  Model m;
  Tensor parameter(const char* name, Shape s) {
    Tensor t = recipe::weight_g(name, s);
    named.push_back({name, t, Value::Kind::parameter});
    m.tensors[name] = t;
    return t;
  }
  const Model& trace(Shape x, const std::function<Tensor(const Tensor&)>& forward) {
    m.graph = vitrine::trace(named, Tensor::zeros(x), forward);
    return m;
  }
};
const Conv2dAttrs kPadded(1, 1);

void expect_same(const Model& m, const std::map<std::string, int>& ops) {
  const Model f = fused(m, Fusion::bits);
  EXPECT_EQ(census(f.graph), ops);
  EXPECT_TRUE(same_bits(embed(f, images(2, 8)), embed(m, images(2, 8))));
}

TEST(Fuse, AValueThatOthersReadIsNotSwallowed) {
  Hand h;
  Tensor w = h.parameter("w", {3, 3, 3, 3}), slope = h.parameter("prelu", {3}), bias = h.parameter("bias", {3});
  expect_same(h.trace({1, 8, 8, 3},
                      [&](const Tensor& x) {
                        Tensor y = conv2d(x, w, kPadded);
                        return mul(prelu(y, slope), add(y, bias));
                      }),
              {{"conv2d_fused", 1}, {"prelu", 1}, {"add", 1}, {"mul", 1}});
  expect_same(h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return add(conv2d(x, w, kPadded), conv2d(x, w, kPadded)); }),
              {{"conv2d_fused", 2}});
  expect_same(h.trace({1, 8, 8, 3},
                      [&](const Tensor& x) {
                        Tensor y = conv2d(x, w, kPadded);
                        return add(y, y);
                      }),
              {{"conv2d_fused", 1}, {"add", 1}});
}

TEST(Fuse, SumsThatAreNoResidualStay) {
  Hand h;
  Tensor w = h.parameter("w", {3, 3, 3, 3}), row = h.parameter("row", {8, 3});
  expect_same(h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return add(conv2d(x, w, kPadded), row); }), {{"conv2d_fused", 1}, {"add", 1}});
  expect_same(h.trace({1, 8, 8, 3},
                      [&](const Tensor& x) {
                        return add(conv2d(x, w, kPadded), mean(x, {1, 2}, true));
                      }),
              {{"conv2d_fused", 1}, {"sum", 1}, {"mul_scalar", 1}, {"add", 1}});
  EXPECT_EQ(census(fused(h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return conv2d(x, conv2d(w, w)); })).graph).count("conv2d_fused"), 1u)
      << "weights computed from weights are constant";
}

TEST(Fuse, MatricesTakeOverNoSumAndStayWhereTheirFirstInputIsTransposed) {
  Hand h;
  Tensor w = h.parameter("w", {192, 192}), row = h.parameter("row", {1, 2});
  const Model m = h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return add(matmul(flatten(x), w), flatten(x)); });
  EXPECT_EQ(census(fused(m).graph)["add"], 1);
  expect_same(m, {{"conv2d_fused", 1}, {"reshape", 4}, {"add", 1}});
  const Model t = h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return matmul(flatten(x), row, true); });
  EXPECT_EQ(census(fused(t).graph)["matmul"], 1);
}

TEST(Fuse, ABatchNormThatTwoReadStaysAndSoDoesOneBeforeGroups) {
  Hand h;
  Tensor w = h.parameter("w", {6, 3, 3, 3}), v = h.parameter("v", {6, 3, 3, 3}), single = h.parameter("single", {6, 3, 3, 1}),
         matrix = h.parameter("matrix", {192, 6}), other = h.parameter("other", {192, 6}), gamma = h.parameter("g", {3}),
         beta = h.parameter("bias", {3}), mean = h.parameter("x.running_mean", {3}), var = h.parameter("x.running_var", {3});
  auto norm = [&](const Tensor& x) { return batch_norm(x, gamma, beta, mean, var); };
  const std::function<Tensor(const Tensor&)> networks[] = {
      [&](const Tensor& x) {
        const Tensor y = norm(x);
        return add(conv2d(y, w), conv2d(y, v));
      },
      [&](const Tensor& x) {
        const Tensor y = flatten(norm(x));
        return add(matmul(y, matrix), matmul(y, other));
      },
      [&](const Tensor& x) { return conv2d(norm(x), single, Conv2dAttrs(1, 0, 3)); },
  };
  for (const auto& network : networks) {
    const Model& m = h.trace({1, 8, 8, 3}, network);
    const Model f = fused(m);
    EXPECT_EQ(census(f.graph)["batch_norm"], 1);
    const auto want = embed(m, images(2, 8)), got = embed(f, images(2, 8));
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4) << i;
  }
}

TEST(Fuse, ABiasBehindABatchNormKeepsItsOwnRounding) {
  Hand h;
  Tensor w = h.parameter("w", {3, 3, 3, 3}), gamma = h.parameter("g", {3}), beta = h.parameter("bias", {3}), row = h.parameter("row", {3}),
         mean = h.parameter("x.running_mean", {3}), var = h.parameter("x.running_var", {3});
  const Model& m = h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return add(batch_norm(conv2d(x, w), gamma, beta, mean, var), row); });
  EXPECT_EQ(census(fused(m).graph), (std::map<std::string, int>{{"conv2d_fused", 1}}));
  expect_same(m, {{"conv2d_fused", 1}, {"add", 1}});
}

TEST(Fuse, AChainEndsAtAResidualReadsNoneAndHasEightLinksAtMost) {
  Hand h;
  Tensor w = h.parameter("w", {3, 1, 1, 3}), each = h.parameter("each", {3, 3, 3, 1});
  const Conv2dAttrs depthwise(1, 1, 3);
  using Ops = std::map<std::string, int>;
  expect_same(h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return conv2d(add(conv2d(x, w), x), each, depthwise); }),
              Ops{{"conv2d_fused", 2}});
  expect_same(h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return add(conv2d(x, each, depthwise), conv2d(x, w)); }),
              Ops{{"conv2d_fused", 2}});
  expect_same(h.trace({1, 8, 8, 3},
                      [&](Tensor x) {
                        for (int i = 0; i < 9; ++i) x = i % 2 ? conv2d(x, each, depthwise) : conv2d(x, w);
                        return x;
                      }),
              Ops{{"conv2d_chain", 1}, {"conv2d_fused", 1}});
}

// A sum of denormals can be -0, and adding 0 would lose its sign.
TEST(Fuse, MinusZeroStays) {
  Hand h;
  Tensor w = h.parameter("w", {1, 1, 1, 3});
  std::fill_n(w.data<float>(), 3, -1e-30f);
  const Model& m = h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return conv2d(x, w); });
  Tensor x = Tensor::full({1, 8, 8, 3}, 1e-30);
  ASSERT_TRUE(std::signbit(embed(m, x)[0]));
  EXPECT_TRUE(same_bits(embed(fused(m, Fusion::bits), x), embed(m, x)));
}

TEST(Fuse, ASingleChannelIsBothDenseAndDepthwise) {
  Hand h;
  Tensor w = h.parameter("w", {1, 3, 3, 1}), one = h.parameter("one", {1});
  for (Fusion fusion : {Fusion::free, Fusion::bits}) {
    const Model& m = h.trace({1, 8, 8, 1}, [&](const Tensor& x) { return conv2d(batch_norm(x, one, one, one, one), w, kPadded); });
    Tensor x = reshape(sum(images(1, 8), {3}), {1, 8, 8, 1});
    EXPECT_TRUE(same_bits(embed(fused(m, fusion), x), embed(m, x)));
  }
}

TEST(Fuse, BatchNormBeforePaddingStaysBeforeIt) {
  Hand h;
  Tensor w = h.parameter("w", {20, 3, 3, 3}), gamma = h.parameter("g", {3}), beta = h.parameter("bias", {3}),
         mean = h.parameter("x.running_mean", {3}), var = h.parameter("x.running_var", {3});
  auto network = [&](Conv2dAttrs a) {
    return h.trace({1, 8, 8, 3}, [&](const Tensor& x) { return conv2d(batch_norm(x, gamma, beta, mean, var), w, a); });
  };
  Conv2dAttrs above(1, 1), beside(1, 1);
  above.pad_w = 0, beside.pad_h = 0;
  for (auto a : {kPadded, Conv2dAttrs(2, 1), above, beside, Conv2dAttrs(1, 0)}) {
    const Model m = network(a), f = fused(m);
    ASSERT_EQ(f.graph.nodes.size(), 1u);
    EXPECT_EQ(static_cast<FusedConvAttrs&>(*f.graph.nodes[0].attrs).before, a.pad_h || a.pad_w)
        << "folded into the weights where nothing is padded";
    auto want = embed(m, images(1, 8)), got = embed(f, images(1, 8));
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-5) << i;
  }
}

// Blocks of tiles, and that they are those of the convolution's own gradient: the same numbers in f64 but for roundings.
TEST(Winograd, TheGradientOfTheWeightsIsThatOfTheConvolution) {
  for (auto [x, o] : {std::pair{Shape{5, 30, 27, 18}, 33}, {Shape{3, 57, 61, 5}, 7}, {Shape{130, 7, 7, 3}, 4}}) {
    const Tensor in = Maker(Dtype::f64, 1).uniform(x), g = Maker(Dtype::f64, 2).uniform({x[0], x[1], x[2], o});
    auto want = conv2d_grad_w(in, g, Conv2dAttrs(1, 1), 3, 3).values(), got = conv2d_winograd_grad_w(in, g).values();
    ASSERT_EQ(want.size(), got.size());
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-10) << x << " " << i;
  }
}

// Training: forward and both gradients of each such convolution, near those of the direct sum and not equal to them.
TEST(Winograd, TakesItsLayersInTrainingAndStaysNearTheDirectSum) {
  Model m = small("iresnet18");
  const Graph direct = with_batch_statistics(m.graph), winograd = with_winograd(direct);
  EXPECT_EQ(census(winograd)["conv2d_winograd"], 10);
  EXPECT_EQ(census(winograd)["conv2d"] + 10, census(direct)["conv2d"]);
  Tensor w = m.tensors.at("conv1.weight").set_requires_grad(true);
  const Tensor direction = recipe::filled({8, 16}, [](int64_t i) { return recipe::u01(9, i) - 0.5; });
  auto gradient = [&](const Graph& g) {
    TensorMap tensors = m.tensors;
    return grad(sum(mul(run(g, tensors, {images(8)})[0], direction)), {w})[0].values<float>();
  };
  auto want = gradient(direct), got = gradient(winograd);
  double norm = 0, error = 0;
  for (size_t i = 0; i < want.size(); ++i) norm += want[i] * want[i], error += (got[i] - want[i]) * (got[i] - want[i]);
  EXPECT_GT(error, 0);
  EXPECT_LE(std::sqrt(error), 1e-4 * std::sqrt(norm)) << "of the first layer, behind all others";
}

TEST(Fuse, ATensorNamedLikeTheInputOrNotAtAllIsNoConstant) {
  Model m = small("iresnet18");
  const auto want = embed(fused(m), images(2));
  m.tensors["data"] = images(1), m.tensors[""] = Tensor::zeros({1, 16});
  EXPECT_TRUE(same_bits(embed(fused(m), images(2)), want));
}

TEST(Fuse, AGraphForTrainingIsRefused) {
  Model m = small("iresnet18");
  m.graph = with_batch_statistics(m.graph);
  EXPECT_THROW(fused(m), Error);
}

}  // namespace
}  // namespace vitrine
