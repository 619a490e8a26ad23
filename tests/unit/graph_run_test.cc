// Graphs as programs: tracing, running with other batches, state that a run updates, passes and their checks.
#include <gtest/gtest.h>

#include "engine/graph/rewrite.h"
#include "engine/ops/batch_norm.h"
#include "nn/network.h"
#include "tests/recipe.h"

namespace vitrine {
namespace {

const nn::NetworkOptions kTiny{32, 32, 1.0 / 16, 16};

Tensor images(int64_t n, const char* name = "images") {
  uint64_t seed = recipe::fnv1a64(name);
  return recipe::filled({n, 32, 32, 3}, [&](int64_t i) { return 2 * recipe::u01(seed, i) - 1; });
}

template <class F>
std::string message(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no Error";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(GraphRun, GivesWhatTheModuleGives) {
  auto m = nn::make_network("iresnet18", kTiny);
  nn::initialise(*m, 2);
  Model model = nn::to_model(*m, "iresnet18", kTiny);
  EXPECT_EQ(run(model.graph, model.tensors, {images(2)})[0].values(), m->forward(images(2)).values());
}

TEST(GraphRun, EveryImageOfABatchGivesWhatItGivesAlone) {
  for (const char* name : {"iresnet18", "mobilefacenet"}) {
    nn::NetworkOptions options = kTiny;
    if (std::string(name) == "mobilefacenet") options.channels = 1;
    Model m = nn::make_model(name, 2, options);
    Tensor x = images(5), y = run(m.graph, m.tensors, {x})[0];
    ASSERT_EQ(y.shape(), Shape({5, 16}));
    for (int64_t i = 0; i < 5; ++i) {
      Tensor one = gather(x, Tensor::from({1}, std::vector<int64_t>{i}));
      EXPECT_EQ(recipe::row(run(m.graph, m.tensors, {one})[0], 0), recipe::row(y, i)) << name << " image " << i;
    }
  }
}

TEST(GraphRun, AnEmptyBatchGivesNoEmbeddings) {
  for (const char* name : {"iresnet18", "mobilefacenet"}) {
    nn::NetworkOptions options = kTiny;
    if (std::string(name) == "mobilefacenet") options.channels = 1;
    Model m = nn::make_model(name, 2, options);
    EXPECT_EQ(run(m.graph, m.tensors, {images(0)})[0].shape(), Shape({0, 16})) << name;
  }
}

TEST(GraphRun, WrongInputsAndMissingTensorsAreNamed) {
  Model m = nn::make_model("iresnet18", 2, kTiny);
  EXPECT_TRUE(contains(message([&] {
                         run(m.graph, m.tensors, {Tensor::zeros({1, 16, 32, 3})});
                       }),
                       "f32[1,16,32,3], expected f32[1,32,32,3]"));
  EXPECT_TRUE(contains(message([&] { run(m.graph, m.tensors, {images(1).to(Dtype::f64)}); }), "f64[1,32,32,3]"));
  EXPECT_TRUE(contains(message([&] { run(m.graph, m.tensors, {}); }), "0 inputs, the graph has 1"));
  m.tensors.erase("layer2.0.conv1.weight");
  EXPECT_TRUE(contains(message([&] { run(m.graph, m.tensors, {images(1)}); }), "layer2.0.conv1.weight"));
  EXPECT_TRUE(contains(message([&] { check(m); }), "layer2.0.conv1.weight is missing"));
}

TEST(GraphRun, TheWatchSeesEveryNodeInOrder) {
  Model m = nn::make_model("iresnet18", 2, kTiny);
  size_t at = 0;
  run(m.graph, m.tensors, {images(3)}, [&](const GraphNode& n, const Tensors& out) {
    EXPECT_EQ(&n, &m.graph.nodes[at++]);
    ASSERT_EQ(out.size(), n.out.size());
    Shape per_image = out[0].shape();
    EXPECT_EQ(per_image[0], 3);
    per_image[0] = 1;
    EXPECT_EQ(per_image, m.graph.values[n.out[0]].meta.shape);
  });
  EXPECT_EQ(at, m.graph.nodes.size());
}

TEST(GraphRun, ValuesAreDroppedAfterTheirLastUse) {
  const int64_t n = 1 << 16, bytes = n * 4;
  Tensor x = Tensor::zeros({1, n});
  Graph g = trace({}, x, [](Tensor y) {
    for (int i = 0; i < 30; ++i) y = add_scalar(y, 1);
    return y;
  });
  int64_t before = memory_use(Device::cpu).live;
  reset_peak(Device::cpu);
  Tensor y = run(g, {}, {x})[0];
  EXPECT_EQ(y.values()[7], 30);
  EXPECT_LE(memory_use(Device::cpu).peak - before, 2 * bytes);
}

TEST(GraphTrace, ATensorNobodyNamedIsRefused) {
  Tensor x = Tensor::zeros({2, 3}), hidden = Tensor::zeros({3});
  EXPECT_TRUE(contains(message([&] { trace({}, x, [&](const Tensor& v) { return add(v, hidden); }); }), "input 1 of add f32[3]"));
  EXPECT_TRUE(contains(message([&] { trace({}, x, [&](const Tensor&) { return hidden; }); }), "not computed from recorded calls"));
  EXPECT_EQ(add(x, hidden).numel(), 6) << "a failed trace leaves no recorder behind";
  EXPECT_EQ(trace({{"w", hidden, Value::Kind::parameter}}, x, [&](const Tensor& v) { return add(v, hidden); }).nodes.size(), 1u);
}

TEST(GraphTrace, RunsNoKernel) {
  Tensor x = Tensor::full({2}, 1);
  Tensor w = Tensor::full({2}, 2);
  Graph g = trace({{"w", w, Value::Kind::parameter}}, x, [&](const Tensor& v) {
    Tensor y = mul(v, w);
    EXPECT_NE(y.values(), std::vector<double>({2, 2})) << "a kernel ran";
    return y;
  });
  EXPECT_EQ(run(g, {{"w", w}}, {x})[0].values(), std::vector<double>({2, 2}));
}

TEST(GraphRewrite, BatchStatisticsUpdateTheRunningOnesAsEagerTrainingDoes) {
  auto m = nn::make_network("iresnet18", kTiny);
  nn::initialise(*m, 2);
  Model model = clone(nn::to_model(*m, "iresnet18", kTiny));
  Graph training = with_batch_statistics(model.graph);
  EXPECT_EQ(training.updates.size(), 2 * 31u);
  EXPECT_TRUE(model.graph.updates.empty()) << "the pass changed its input";
  m->train(true);
  for (const char* batch : {"a", "b"})
    EXPECT_EQ(run(training, model.tensors, {images(4, batch)})[0].values(), m->forward(images(4, batch)).values()) << batch;
  for (auto& member : nn::named_members(*m))
    if (model.tensors.count(member.name)) {
      EXPECT_EQ(model.tensors[member.name].values(), member.tensor->values()) << member.name;
    }
}

TEST(GraphRewrite, MomentumAndEpsilonAreThoseAskedFor) {
  Tensor x = Tensor::from({4, 1}, std::vector<double>{1, 2, 3, 6}), one = Tensor::full({1}, 1, Dtype::f64),
         zero = Tensor::zeros({1}, Dtype::f64);
  std::vector<NamedTensor> named{{"gamma", one, Value::Kind::parameter},
                                 {"beta", zero, Value::Kind::parameter},
                                 {"mean", zero.clone(), Value::Kind::buffer},
                                 {"var", one.clone(), Value::Kind::buffer}};
  Graph g = trace(named, x,
                  [&](const Tensor& v) { return batch_norm(v, named[0].tensor, named[1].tensor, named[2].tensor, named[3].tensor, 0.5); });
  TensorMap tensors;
  for (auto& n : named) tensors[n.name] = n.tensor;
  Tensor y = run(with_batch_statistics(g, 0.25), tensors, {x})[0];
  EXPECT_DOUBLE_EQ(y.values()[3], 3 / std::sqrt(3.5 + 0.5));  // mean 3, biased variance 14 / 4
  EXPECT_DOUBLE_EQ(tensors["mean"].item(), 0.25 * 3);
  EXPECT_DOUBLE_EQ(tensors["var"].item(), 0.75 + 0.25 * 14.0 / 3);  // unbiased
}

TEST(GraphRewrite, StatisticsThatAreNotBuffersAreNotUpdated) {
  Tensor x = Tensor::zeros({4, 1}), c = Tensor::full({1}, 1);
  std::vector<NamedTensor> named;
  for (const char* name : {"gamma", "beta", "mean", "var"}) named.push_back({name, c.clone(), Value::Kind::parameter});
  Graph g =
      trace(named, x, [&](const Tensor& v) { return batch_norm(v, named[0].tensor, named[1].tensor, named[2].tensor, named[3].tensor); });
  EXPECT_TRUE(with_batch_statistics(g).updates.empty());
}

TEST(GraphCheck, ABrokenGraphIsRefused) {
  Graph good = trace({}, Tensor::zeros({2, 3}), [](const Tensor& x) { return relu(square(x)); });
  EXPECT_EQ(message([&] { check(good); }), "no Error");
  auto refused = [&](auto change) {
    Graph g = good;
    change(g);
    return message([&] { check(g); });
  };
  EXPECT_TRUE(contains(refused([](Graph& g) { std::swap(g.nodes[0], g.nodes[1]); }), "node 0 (relu): reads %1 before it is known"));
  EXPECT_TRUE(contains(refused([](Graph& g) {
                         g.values[2].meta.shape = {3, 2};
                       }),
                       "node 1 (relu): output 0 is f32[3,2], expected f32[2,3]"));
  EXPECT_TRUE(contains(refused([](Graph& g) { g.outputs = {9}; }), "output %9"));
  EXPECT_TRUE(contains(refused([](Graph& g) { g.nodes[1].out = {1}; }), "writes %1"));
  EXPECT_TRUE(contains(refused([](Graph& g) { g.nodes[1].in.clear(); }), "node 1 (relu): reads no value"));
  EXPECT_TRUE(contains(refused([](Graph& g) { g.nodes.pop_back(); }), "output %2 is never computed"));
  EXPECT_TRUE(contains(refused([](Graph& g) { g.updates.push_back({0, 1}); }), "update of %0 by %1"));
  EXPECT_THROW(good.add_value(Value::Kind::parameter, "data", {}), Error) << "a name taken";
  EXPECT_THROW(good.add_value(Value::Kind::parameter, "a b", {}), Error);
  EXPECT_THROW(good.add_value(Value::Kind::computed, "x", {}), Error);
  EXPECT_THROW(rewrite(good, [](Graph&, const GraphNode&, const std::vector<Id>&) { return std::vector<Id>{}; }), Error);
}

TEST(GraphCheck, ATensorNamedLikeAnInputOrNotAtAllIsRefused) {
  Model m = nn::make_model("iresnet18", 2, kTiny);
  for (const char* name : {"data", ""}) {
    m.tensors[name] = images(1);
    EXPECT_TRUE(contains(message([&] { check(m); }), *name ? "tensor data has the name of an input" : "a tensor without a name"));
    m.tensors.erase(name);
  }
  EXPECT_EQ(message([&] { check(m); }), "no Error");
}

TEST(GraphCount, CostsAreThoseOfOneImageWhateverTheExampleBatch) {
  Tensor w = Tensor::zeros({5, 3, 3, 4}), b = Tensor::zeros({5});
  auto traced = [&](int64_t n) {
    return trace({{"conv.weight", w, Value::Kind::parameter}, {"conv.bias", b, Value::Kind::parameter}}, Tensor::zeros({n, 8, 6, 4}),
                 [&](const Tensor& x) { return add(conv2d(x, w), b); });
  };
  for (int64_t n : {1, 3}) {
    Count c = count(traced(n));
    EXPECT_EQ(c.macs, 6 * 4 * 5 * 9 * 4);
    EXPECT_EQ(c.params, 5 * 9 * 4 + 5);
    EXPECT_EQ(c.nodes[0].name, "conv");
  }
}

}  // namespace
}  // namespace vitrine
