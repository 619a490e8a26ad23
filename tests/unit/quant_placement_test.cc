// Bits by layer, the integer placement on all kinds of networks, the passes for calibration and training.
#include <gtest/gtest.h>

#include <set>

#include "data/sampler.h"
#include "engine/core/rng.h"
#include "engine/graph/rewrite.h"
#include "nn/network.h"
#include "quant/ops/fake_quant.h"
#include "quant/placement.h"
#include "tests/recipe.h"
#include "tools/training.h"

namespace vitrine::quant {
namespace {

Model small(const std::string& name) {
  return name == "mobilefacenet" ? nn::make_model(name, 1, {32, 32, 1, 8}) : nn::make_model(name, 1, {32, 32, 1.0 / 64, 8});
}
QuantSpec with_layers(QuantSpec s, const std::string& text) {
  s.layers = parse_layer_bits(text);
  return s;
}

// Bits of every quantizer: of weights and slopes by the parameter's name, of activations by the range's.
std::map<std::string, int64_t> bits_of(const Model& m) {
  std::map<std::string, int64_t> bits;
  for (auto& n : m.graph.nodes) {
    if (n.op->name == std::string("fake_quant")) bits[m.graph.values[n.in[1]].name] = static_cast<FakeQuantAttrs&>(*n.attrs).bits;
    if (n.op->name == std::string("fake_quant_weight"))
      bits[m.graph.values[n.in[0]].name] = static_cast<FakeQuantWeightAttrs&>(*n.attrs).bits;
  }
  return bits;
}

TEST(LayerBits, AreReadAndMalformedOnesRefused) {
  auto all = parse_layer_bits("conv1=w8a8,layer1.*=w4a32,a=b=w2a2");
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[1].pattern, "layer1.*");
  EXPECT_EQ(all[1].weight_bits, 4);
  EXPECT_EQ(all[1].act_bits, kFloat);
  EXPECT_EQ(all[2].pattern, "a=b");
  EXPECT_TRUE(parse_layer_bits("").empty());
  for (const char* bad : {"conv1", "=w8a8", "conv1=", "conv1=w8", "conv1=w8a8,,", "conv1=w17a8"})
    EXPECT_THROW(parse_layer_bits(bad), Error) << bad;
}

TEST(LayerBits, ExceptionsReachWeightsAndRangesTheyNameAndTheLastCounts) {
  Model teacher = small("iresnet18");
  auto bits = bits_of(quantface(teacher, with_layers({6, 4}, "layer1.*=w3a5,layer1.0.conv2=w7a7,prelu=w8a9,add2=w2a10,fc=w32a8")));
  EXPECT_EQ(bits.at("conv1.weight"), 6);
  EXPECT_EQ(bits.at("layer1.0.conv1.weight"), 3);
  EXPECT_EQ(bits.at("layer1.0.conv2.weight"), 7);
  EXPECT_EQ(bits.at("layer1.0.prelu.range"), 5);
  EXPECT_EQ(bits.at("layer1.0.prelu.weight"), 5) << "slopes have activation bits";
  EXPECT_EQ(bits.at("prelu.range"), 9);
  EXPECT_EQ(bits.at("add1.range"), 4);
  EXPECT_EQ(bits.at("add2.range"), 10);
  EXPECT_FALSE(bits.count("fc.weight")) << "w32 is float";
  EXPECT_THROW(quantface(teacher, with_layers({6, 4}, "conv9=w8a8")), Error) << "a name that nothing has";
}

TEST(LayerBits, FirstAndLastLayerKeepTheirBitsOrStayFloat) {
  for (auto scheme : {quantface, integer})
    for (int64_t ends : {int64_t{8}, kFloat}) {
      auto bits = bits_of(scheme(small("iresnet18"), {4, 4, ends}));
      EXPECT_EQ(bits.count("conv1.weight") ? bits["conv1.weight"] : kFloat, ends);
      EXPECT_EQ(bits.count("fc.weight") ? bits["fc.weight"] : kFloat, ends);
      EXPECT_EQ(bits.at("layer1.0.conv1.weight"), 4);
      EXPECT_EQ(bits.at("layer4.1.conv2.weight"), 4);
      if (scheme == &integer) {
        EXPECT_EQ(bits.count("bn2.range") ? bits["bn2.range"] : kFloat, ends) << "what the last layer reads";
      }
    }
}

TEST(LayerBits, SharedRangesOfTheIntegerPlacementTakeTheWidestWish) {
  auto bits = bits_of(integer(small("iresnet18"), with_layers({6, 6}, "layer1.0.conv2=w6a4,layer1.0.downsample.0=w6a8")));
  EXPECT_EQ(bits.at("layer1.0.prelu.range"), 4) << "conv2 alone reads it";
  EXPECT_EQ(bits.at("prelu.range"), 8) << "read by bn1 and the shortcut's convolution";
  bits = bits_of(integer(small("iresnet18"), with_layers({6, 6}, "layer1.1.conv1=w6a5")));
  EXPECT_EQ(bits.at("layer1.1.bn1.range"), 5);
}

struct Counts {
  const char* name;
  Census quantizers;
  size_t float_inputs_of_quantface;  // first convolution of each block, stem, fc; MobileFaceNet: behind linear bottlenecks
};
class IntegerPlacement : public ::testing::TestWithParam<Counts> {};

TEST_P(IntegerPlacement, EveryInputOfAConvolutionOrMatrixLiesOnAGrid) {
  Model teacher = small(GetParam().name), student = integer(teacher, {4, 6});
  Census c = census(student.graph), want = GetParam().quantizers;
  EXPECT_EQ(c.activations, want.activations);
  EXPECT_EQ(c.convolutions, want.convolutions);
  EXPECT_EQ(c.matrices, want.matrices);
  EXPECT_EQ(c.slopes, want.slopes);
  EXPECT_EQ(float_inputs(student.graph), std::vector<std::string>());
  EXPECT_EQ(float_inputs(quantface(teacher, {4, 6}).graph).size(), GetParam().float_inputs_of_quantface);
  EXPECT_EQ(static_cast<int>(float_inputs(teacher.graph).size()), want.convolutions + want.matrices);
  std::set<Id> grid;
  for (auto& n : student.graph.nodes) {
    std::string op = n.op->name;
    if (op == "fake_quant") {
      EXPECT_FALSE(grid.count(n.in[0])) << "quantized twice";
      grid.insert(n.out[0]);
    }
    bool sum = op == "add" && student.graph.values[n.in[1]].kind == Value::Kind::computed;
    EXPECT_TRUE(!sum || grid.count(n.in[0]) + grid.count(n.in[1]) == 1) << "one term is stored, the other a layer's accumulator";
  }
  EXPECT_FALSE(grid.count(student.graph.outputs[0])) << "the embedding is quantized";
  EXPECT_EQ(nn::trainable(student), nn::trainable(teacher));
  EXPECT_EQ(count(student.graph).macs, count(teacher.graph).macs);
  EXPECT_EQ(student.info.at("scheme"), "integer");
}

// IResNet with B blocks: image, stem, 2 a block (bn1, prelu), bn3 where the shortcut has a layer of its own (4), B - 1 sums (the last is
// read by BatchNorm alone), the input of fc: 3 B + 6.
INSTANTIATE_TEST_SUITE_P(, IntegerPlacement,
                         ::testing::Values(Counts{"iresnet18", {21, 1, 0, 30}, 10}, Counts{"iresnet34", {37, 1, 0, 54}, 18},
                                           Counts{"iresnet50", {53, 1, 0, 78}, 26}, Counts{"iresnet100", {103, 1, 0, 153}, 51},
                                           Counts{"mobilefacenet", {50, 0, 0, 50}, 5}),
                         [](const auto& info) { return std::string(info.param.name); });

// As importers leave it: pixels scaled inside, BatchNorm folded into biases, relu, squeeze and excitation, a transposed product.
Model imported() {
  Model m;
  std::vector<NamedTensor> named;
  uint64_t stream = 1;
  auto p = [&](const std::string& name, Shape s) {
    Philox rng(9, stream++);
    std::vector<float> v(s.numel());
    for (float& x : v) x = static_cast<float>(rng.normal()) * 0.3f;
    m.tensors[name] = Tensor::from(s, v);
    named.push_back({name, m.tensors[name], Value::Kind::parameter});
    return m.tensors[name];
  };
  Tensor mean = p("mean", {1}), w1 = p("w1", {8, 3, 3, 3}), b1 = p("b1", {8}), s1 = p("s1", {8}), w2 = p("w2", {8, 3, 3, 8});
  Tensor b2 = p("b2", {8}), se = p("se", {8, 1, 1, 8}), w3 = p("w3", {8, 1, 1, 8}), fc = p("fc", {4, 8 * 4 * 4}), bias = p("bias", {4});
  m.graph = trace(named, Tensor::zeros({1, 8, 8, 3}), [&](const Tensor& image) {
    Tensor x = mul_scalar(sub(image, mean), 0.5);
    Tensor a = prelu(add(conv2d(x, w1, Conv2dAttrs(2, 1)), b1), s1);
    Tensor y = add(conv2d(a, w2, Conv2dAttrs(1, 1)), b2);
    Tensor gate = sigmoid(conv2d(vitrine::mean(y, {1, 2}, true), se));
    Tensor z = relu(add(mul(y, gate), a));
    Tensor t = conv2d(z, w3);
    return add(matmul(flatten(add(t, z)), fc, false, true), bias);
  });
  m.info["mean"] = "0", m.info["std"] = "1";
  return m;
}

TEST(IntegerPlacementOf, AnImportedGraphHasNoFloatInputAndPixelsKeepEightBits) {
  Model teacher = imported(), student = integer(teacher, {4, 4});
  EXPECT_EQ(float_inputs(student.graph), std::vector<std::string>());
  auto bits = bits_of(student);
  EXPECT_EQ(bits.at("mul_scalar1.range"), 8) << "the image, scaled";
  EXPECT_FALSE(bits.count("data.range")) << "what no layer reads needs no grid";
  EXPECT_EQ(bits.at("s1.range"), 4);
  EXPECT_EQ(bits.at("b2.range"), 4) << "behind the bias, not before";
  EXPECT_EQ(bits.at("relu1.range"), 4);
  EXPECT_FALSE(bits.count("add2.range")) << "relu alone reads the sum";
  auto names = float_inputs(quantface(teacher, {4, 4}).graph);
  EXPECT_EQ(names, std::vector<std::string>({"w1", "se"})) << "the published placement leaves floats";
  Tensor x = Tensor::full({2, 8, 8, 3}, 0.5);
  Tensor y = run(with_running_ranges(student.graph), student.tensors, {x})[0];
  EXPECT_EQ(y.values(), run(student.graph, student.tensors, {x})[0].values());
  EXPECT_EQ(bits_of(integer(teacher, {kFloat, kFloat})).size(), 0u) << "32 bits quantize nothing";
}

TEST(IntegerPlacementOf, TheImageKeepsItsPixelsWhereTheyAreCodesAndMovesByHalfALevelElsewhere) {
  for (auto [mean, unit] : {std::pair{"127", 128.f}, {"0", 255.f}, {"127.5", 127.5f}, {"127.5", 128.f}}) {
    Model teacher = small("iresnet18");
    teacher.info["mean"] = mean, teacher.info["std"] = std::to_string(unit);
    Model student = integer(teacher, {4, 4});
    Tensor range = student.tensors.at("data.range");
    std::vector<float> pixels, values;
    float centre = std::stof(mean);
    for (int p = 0; p < 256; ++p) pixels.push_back((static_cast<float>(p) - centre) / unit);
    values = fake_quant(Tensor::from({256}, pixels), range, 8).values<float>();
    bool half = centre != std::floor(centre);
    for (int p = 0; p < 256; ++p) EXPECT_NEAR(values[p] * unit, pixels[p] * unit, half ? 0.55 : 1e-4) << mean << " " << p;
    EXPECT_EQ(std::set<float>(values.begin(), values.end()).size(), half ? 255u : 256u) << "127 and 128 alone fall together";
    Tensor x = Tensor::full({1, 32, 32, 3}, 5.0);
    run(with_running_ranges(student.graph), student.tensors, {x});
    EXPECT_EQ(student.tensors.at("data.range").values(), range.values()) << "the image's range is not tracked";
  }
  Model teacher = small("iresnet18");
  for (const char* bad : {"", "x", "1e9", "nan", "-3"}) {
    teacher.info["mean"] = bad;
    EXPECT_THROW(integer(teacher, {}), Error) << bad;
  }
  teacher.info["mean"] = "0", teacher.info["std"] = "0";
  EXPECT_THROW(integer(teacher, {}), Error) << "nothing is divided by 0";
}

TEST(IntegerPlacementOf, EightBitsKeepTheEmbeddingOfDnet) {
  Model teacher = recipe::model_d("iresnet18"), student = integer(teacher, {8, 8});
  Tensor x = recipe::images_d();
  Tensor tracked = run(with_running_ranges(student.graph), student.tensors, {x})[0];
  Tensor y = run(student.graph, student.tensors, {x})[0], full = run(teacher.graph, teacher.tensors, {x})[0];
  EXPECT_EQ(tracked.values(), y.values());
  for (int i : {0, 1}) EXPECT_GT(recipe::cosine(recipe::row(y, i), recipe::row(full, i)), 0.998);
}

TEST(Passes, RunningRangesObserveByTheRuleWithTheBitsOfEachQuantizer) {
  ObserveAttrs rule;
  rule.rule = ObserveAttrs::mse, rule.momentum = 0.5;
  Graph g = with_running_ranges(quantface(small("iresnet18"), with_layers({6, 4}, "prelu=w8a7")).graph, rule);
  int sevens = 0, observers = 0;
  for (auto& n : g.nodes) {
    if (n.op->name != std::string("observe")) continue;
    auto& a = static_cast<ObserveAttrs&>(*n.attrs);
    EXPECT_EQ(a.rule, ObserveAttrs::mse);
    EXPECT_EQ(a.momentum, 0.5);
    sevens += a.bits == 7, ++observers;
    EXPECT_TRUE(a.bits == 7 || a.bits == 4);
  }
  EXPECT_EQ(sevens, 1);
  EXPECT_EQ(observers, 17);
  EXPECT_EQ(print(parse_graph(print(g))), print(g));
}

TEST(Passes, ClippedGradientsStopOutsideTheRangesAndChangeNoValue) {
  Model m;
  m.tensors = {{"w", Tensor::from({1, 4}, std::vector<float>{-3, 0.5f, 0.25f, 9})},
               {"w.range", Tensor::from({2}, std::vector<float>{-1, 2})}};
  std::vector<NamedTensor> named{{"w", m.tensors["w"], Value::Kind::parameter}, {"w.range", m.tensors["w.range"], Value::Kind::buffer}};
  m.graph =
      trace(named, Tensor::zeros({1, 4}), [&](const Tensor& x) { return mul(x, fake_quant(m.tensors["w"], m.tensors["w.range"], 4)); });
  Graph clipped = with_clipped_gradients(m.graph);
  Tensor x = Tensor::full({1, 4}, 3), w = m.tensors["w"].set_requires_grad();
  Tensor y = run(clipped, m.tensors, {x})[0], whole = run(m.graph, m.tensors, {x})[0];
  EXPECT_EQ(y.values(), whole.values());
  EXPECT_EQ(grad(sum(y), {w})[0].values(), std::vector<double>({0, 3, 3, 0}));
  EXPECT_EQ(grad(sum(whole), {w})[0].values(), std::vector<double>({3, 3, 3, 3}));
}

TEST(Passes, QuantizersAreFoundAgainAfterEveryPass) {
  for (auto scheme : {quantface, integer}) {
    Model m = scheme(small("iresnet18"), {4, 4});
    Graph g = with_clipped_gradients(with_running_ranges(with_batch_statistics(m.graph)));
    EXPECT_EQ(census(g).activations, census(m.graph).activations);
    EXPECT_THROW(quantface(m, {}), Error) << "quantized twice";
    EXPECT_THROW(integer(m, {}), Error) << "quantized twice";
  }
}

data::MemorySet random_images(int n) {
  std::vector<data::Image> images;
  Philox rng(3);
  for (int i = 0; i < n; ++i) {
    images.emplace_back(32, 32);
    for (int y = 0; y < 32; ++y)
      for (int x = 0; x < 96; ++x) images.back().row(y)[x] = static_cast<uint8_t>(rng.below(256));
  }
  return {std::move(images), std::vector<int64_t>(n)};
}

TEST(BatchNormReestimation, RunningStatisticsBecomeTheMeansOfTheBatches) {
  Model m = quantface(nn::make_model("iresnet18", 1, {32, 32, 1.0 / 16, 8}), {4, 4});
  data::MemorySet set = random_images(12);
  data::Batches batches{{{0}, {1}, {2}, {3}, {4}, {5}}, {{6}, {7}, {8}, {9}, {10}, {11}}};
  Tensor w = fake_quant_weight(m.tensors.at("conv1.weight"), 4, true), sum;
  tools::for_each_batch(set, batches, tools::preprocess_of(m), Device::cpu, [&](const data::Batch&, const Tensor& x) {
    Tensor each = mean(conv2d(x, w, Conv2dAttrs(1, 1)), {0, 1, 2});
    sum = sum ? add(sum, each) : each;
  });
  Model before = clone(m);
  tools::reestimate_batch_norm(m, set, batches);
  for (int c = 0; c < 4; ++c) EXPECT_NEAR(m.tensors.at("bn1.running_mean").values()[c], sum.values()[c] / 2, 1e-6);
  for (auto& [name, t] : m.tensors) {
    bool statistic = name.find("running_") != std::string::npos;
    EXPECT_EQ(statistic, t.values() != before.tensors.at(name).values()) << name << ": statistics change, nothing else";
  }
  Model folded = imported();
  folded.graph = integer(folded, {4, 4}).graph;
  EXPECT_THROW(tools::reestimate_batch_norm(folded, set, batches), Error) << "no BatchNorm";
}

TEST(BatchNormReestimation, BringsTheFewBitStudentCloserToItsTeacher) {
  Model teacher = nn::make_model("iresnet18", 1, {32, 32, 1.0 / 8, 16});
  data::MemorySet set = random_images(24);
  data::Batches batches = tools::in_order(24, 12, false);
  tools::reestimate_batch_norm(teacher, set, batches);  // of the float network: statistics that fit the images
  auto cosine = [&](bool again) {
    Model student = quantface(teacher, {3, 4});
    if (again) tools::reestimate_batch_norm(student, set, batches);
    tools::calibrate(student, set, batches);
    auto a = tools::embed(teacher, set, false, "t"), b = tools::embed(student, set, false, "s");
    return recipe::cosine({a.values.begin(), a.values.end()}, {b.values.begin(), b.values.end()});
  };
  EXPECT_GT(cosine(true), cosine(false));
}

}  // namespace
}  // namespace vitrine::quant
