// Where quantizers sit in the networks, and a whole quantized IResNet-18 (recipe D-net) against the published code.
#include <gtest/gtest.h>
#include <algorithm>

#include "nn/network.h"
#include "quant/placement.h"
#include "tests/recipe.h"

namespace vitrine::quant {
namespace {

using recipe::cosine;
using recipe::row;

TEST(QuantSpec, BitsAreReadAndWritten) {
  EXPECT_EQ(parse_bits("w8a6").weight_bits, 8);
  EXPECT_EQ(parse_bits("w8a6").act_bits, 6);
  EXPECT_EQ(str(parse_bits("w16a2")), "w16a2");
  for (const char* bad : {"", "w", "w6", "w6a", "a6w6", "w1a6", "w6a17", "w6a6x", "w-6a6", "6a6", "w6 a6", "w99999999999999999999a6"})
    EXPECT_THROW(parse_bits(bad), Error) << bad;
}

struct Counts {
  const char* name;
  Census quantizers;
  int norms2d;
};

class QuantPlacement : public ::testing::TestWithParam<Counts> {};

// The number of quantizers does not depend on the width: a narrow network has them all.
TEST_P(QuantPlacement, QuantizersAreWhereThePaperHasThem) {
  Model teacher = nn::make_model(GetParam().name, 1, {32, 32, 1.0 / 64, 8});
  Model student = quantface(teacher, {6, 4});
  Census c = census(student.graph), want = GetParam().quantizers;
  EXPECT_EQ(c.activations, want.activations);
  EXPECT_EQ(c.convolutions, want.convolutions);
  EXPECT_EQ(c.matrices, want.matrices);
  EXPECT_EQ(c.slopes, want.slopes);
  int norms2d = 0, norms1d = 0;
  for (auto& n : student.graph.nodes) {
    std::string op = n.op->name;
    if (op == "batch_norm") ++(student.graph.values[n.in[0]].meta.shape.rank() == 4 ? norms2d : norms1d);
    auto bits = [&](const char* attr) { EXPECT_NE(print(*n.attrs).find(attr), std::string::npos) << print(*n.attrs); };
    if (op == "fake_quant") bits("bits=4");
    if (op == "fake_quant_weight")
      bits(student.graph.values[n.in[0]].meta.shape.rank() == 1 ? "bits=4 per_channel=0" : "bits=6 per_channel=1");
  }
  EXPECT_EQ(norms2d, GetParam().norms2d) << "BatchNorm is neither folded nor removed";
  EXPECT_EQ(norms1d, 1);
  EXPECT_EQ(nn::trainable(student), nn::trainable(teacher)) << "quantizing must not change what an optimiser trains";
  EXPECT_EQ(count(student.graph).params, count(teacher.graph).params);
  EXPECT_EQ(count(student.graph).macs, count(teacher.graph).macs);
}

INSTANTIATE_TEST_SUITE_P(, QuantPlacement,
                         ::testing::Values(Counts{"iresnet18", {21, 1, 9, 17}, 30}, Counts{"iresnet34", {37, 1, 17, 33}, 54},
                                           Counts{"iresnet50", {53, 1, 25, 49}, 78}, Counts{"iresnet100", {103, 1, 50, 99}, 153}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(QuantRules, ImageEmbeddingAndBatchNormStayFloat) {
  Model teacher = nn::make_model("iresnet18", 1, {32, 32, 1.0 / 64, 8});
  Model student = quantface(teacher, {});
  const Graph& g = student.graph;
  std::map<Id, std::string> made_by;
  for (auto& n : g.nodes)
    for (Id id : n.out) made_by[id] = n.op->name;
  for (auto& n : g.nodes) {
    std::string op = n.op->name, input = made_by[n.in[0]];
    if (op == "fake_quant") {
      EXPECT_TRUE(input == "prelu" || input == "add") << "the output of " << input;
    } else if (op == "conv2d") {
      EXPECT_TRUE(input == "fake_quant" || input == "batch_norm" || n.in[0] == g.inputs[0]) << input;
    } else if (op == "batch_norm") {
      for (size_t k = 1; k < 5; ++k) EXPECT_NE(g.values[n.in[k]].kind, Value::Kind::computed);
    }
  }
  EXPECT_EQ(made_by[g.outputs[0]], "batch_norm");
  EXPECT_THROW(quantface(student, {}), Error) << "quantized twice";
}

TEST(QuantRules, TheStudentSharesNoBytesWithItsTeacher) {
  Model teacher = nn::make_model("iresnet18", 1, {32, 32, 1.0 / 64, 8}), student = quantface(teacher, {});
  for (auto& [name, t] : teacher.tensors) EXPECT_FALSE(t.shares(student.tensors.at(name))) << name;
}

const Model& dnet() {
  static Model m = recipe::model_d("iresnet18");
  return m;
}
const Tensor& full_precision() {
  static Tensor y = run(dnet().graph, dnet().tensors, {recipe::images_d()})[0];
  return y;
}

TEST(QuantDnet, RecipeGivesThePublishedWeightsAndImages) {
  auto x = recipe::to_nchw(recipe::images_d()).values<float>();
  auto w = recipe::weight_d("conv1.weight", {64, 3, 3, 3}, 0).values<float>();
  const double first_x[] = {0.96601796, 0.90183604, 0.72628760, -0.20637012};
  const double first_w[] = {-0.32998317, -0.06048655, 0.20901011, -0.11357360};
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(x[i], first_x[i], 1e-8);
    EXPECT_NEAR(w[i], first_w[i], 1e-8);
  }
  Tensor fc = dnet().tensors.at("fc.weight");
  auto row0 = row(fc, 0);
  EXPECT_NEAR(*std::min_element(row0.begin(), row0.end()), -0.0109351994, 1e-9);
  EXPECT_NEAR(*std::max_element(row0.begin(), row0.end()), 0.0109343566, 1e-9);
}

TEST(QuantDnet, FullPrecisionEmbeddingsAreThePublishedOnes) {
  const double want[2][8] = {{-1.7510357, -4.0773734, 0.1603716, -2.6709702, 0.5185520, 0.8308671, 0.9650380, -2.5735291},
                             {0.9140792, -5.0542730, -1.9354053, -2.6029748, 0.7700152, -2.7823283, 0.2005858, 0.9502836}};
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 8; ++k) EXPECT_NEAR(row(full_precision(), i)[k], want[i][k], 1e-4) << i << " " << k;
  EXPECT_NEAR(recipe::norm(row(full_precision(), 0)), 51.1844, 1e-4);
  EXPECT_NEAR(recipe::norm(row(full_precision(), 1)), 51.1820, 1e-4);
  EXPECT_NEAR(cosine(row(full_precision(), 0), row(full_precision(), 1)), 0.5160215, 1e-6);
}

struct Calibrated {
  Model model;
  Tensor calibrating, frozen;  // embeddings while ranges were tracked, and after
};
Calibrated calibrated(const QuantSpec& spec) {
  Calibrated c{quantface(dnet(), spec), {}, {}};
  Tensor x = recipe::images_d();
  c.calibrating = run(with_running_ranges(c.model.graph), c.model.tensors, {x})[0];
  c.frozen = run(c.model.graph, c.model.tensors, {x})[0];
  return c;
}
void expect_cosines(const Tensor& quantized, double first, double second, double tolerance) {
  double a = cosine(row(quantized, 0), row(full_precision(), 0)), b = cosine(row(quantized, 1), row(full_precision(), 1));
  EXPECT_NEAR(a, first, tolerance);
  EXPECT_NEAR(b, second, tolerance);
  ::testing::Test::RecordProperty("cosines", cat(a, " ", b));
}

TEST(QuantDnet, EightBitsAfterOneCalibrationPassKeepThePublishedCosine) {
  Calibrated c = calibrated({8, 8});
  EXPECT_EQ(c.calibrating.values(), c.frozen.values()) << "the tracking pass must quantize with the ranges it leaves";
  expect_cosines(c.frozen, 0.99937, 0.99935, 5e-4);
}

TEST(QuantDnet, SixBitsAfterOneCalibrationPassKeepThePublishedCosineAndRanges) {
  Calibrated c = calibrated({6, 6});
  EXPECT_EQ(c.calibrating.values(), c.frozen.values()) << "the tracking pass must quantize with the ranges it leaves";
  expect_cosines(c.frozen, 0.98981, 0.98982, 4e-3);
  auto expect_range = [&](const char* name, double lo, double hi) {
    auto r = c.model.tensors.at(name).values();
    EXPECT_NEAR(r[0], lo, 1e-3 * std::abs(lo)) << name;
    EXPECT_NEAR(r[1], hi, 1e-3 * std::abs(hi)) << name;
    ::testing::Test::RecordProperty(name, cat(r[0] / lo - 1, " ", r[1] / hi - 1));
  };
  expect_range("prelu.range", -0.892732, 3.120974);
  expect_range("layer1.0.prelu.range", -0.674240, 2.424303);
  expect_range("add1.range", -2.609670, 2.716641);
  for (auto& [name, t] : c.model.tensors) {
    if (!recipe::ends_with(name, ".range")) continue;
    EXPECT_LE(t.values()[0], 0) << name;
    EXPECT_GT(t.values()[1], 0) << name;
  }
}

TEST(QuantDnet, WithoutCalibrationTheNetworkIsDead) {
  Model m = quantface(dnet(), {6, 6});
  Tensor y = run(m.graph, m.tensors, {recipe::images_d()})[0];
  EXPECT_GT(cosine(row(y, 0), row(y, 1)), 0.9999) << "two images are still told apart";
}

}  // namespace
}  // namespace vitrine::quant
