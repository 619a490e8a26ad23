// Whole networks under recipe G against the published code: embeddings, every layer's checksum, and what folding BatchNorm may change.
#include <gtest/gtest.h>
#include <algorithm>

#include <map>
#include <nlohmann/json.hpp>

#include "engine/graph/fuse.h"
#include "engine/graph/rewrite.h"
#include "engine/ops/batch_norm.h"
#include "nn/network.h"
#include "tests/golden.h"
#include "tests/recipe.h"

namespace vitrine {
namespace {

using nlohmann::json;
using recipe::row;

Tensor flipped(const Tensor& x) {  // about the vertical axis
  Shape s = x.shape();
  auto v = x.values<float>();
  std::vector<float> out(v.size());
  for (int64_t r = 0; r < s[0] * s[1]; ++r)
    for (int64_t i = 0; i < s[2]; ++i)
      for (int64_t c = 0; c < s[3]; ++c) out[(r * s[2] + i) * s[3] + c] = v[(r * s[2] + s[2] - 1 - i) * s[3] + c];
  return Tensor::from(s, out);
}

const Model& iresnet18() {
  static Model m = recipe::model_g("iresnet18");
  return m;
}

std::string stem(const std::string& name) { return name.substr(0, name.rfind('.')); }

// Every layer's output by the name PyTorch's module has: "layer1.0.bn1", "layer1.0.downsample", "layer1.0", "layer1".
std::map<std::string, Tensor> layers(const Model& m, const Tensor& x) {
  std::map<std::string, Tensor> found;
  std::string last;
  run(m.graph, m.tensors, {x}, [&](const GraphNode& n, const Tensors& out) {
    if (n.in.size() > 1 && !m.graph.values[n.in[1]].name.empty()) {
      last = stem(m.graph.values[n.in[1]].name);
      found[recipe::ends_with(last, "downsample.1") ? stem(last) : last] = out[0];
    } else if (std::string(n.op->name) == "add") {
      std::string block = last.substr(0, last.find('.', last.find('.') + 1));
      found[block] = found[stem(block)] = out[0];
    }
  });
  return found;
}

void expect_checksums(const Model& m, const json& want, double tolerance) {
  auto found = layers(m, recipe::image_g("input0"));
  EXPECT_EQ(want.size(), 18u);
  for (auto& [name, w] : want.items()) {
    ASSERT_TRUE(found.count(name)) << name;
    Tensor t = found[name].shape().rank() == 4 ? recipe::to_nchw(found[name]) : found[name];
    EXPECT_EQ(t.shape(), Shape(w["shape"].get<std::vector<int64_t>>())) << name;
    auto v = t.values();
    double total = 0, magnitude = 0, want_magnitude = w["abs_sum"];
    for (double x : v) total += x, magnitude += std::abs(x);
    EXPECT_NEAR(total, w["sum"], 1e-6 * want_magnitude) << name;
    EXPECT_NEAR(magnitude, want_magnitude, 1e-6 * want_magnitude) << name;
    for (size_t i = 0; i < w["idx"].size(); ++i)
      EXPECT_NEAR(v[w["idx"][i].get<size_t>()], w["val"][i], tolerance) << name << " " << w["idx"][i];
  }
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double tolerance, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) worst = std::max(worst, std::abs(got[i] - want[i]));
  EXPECT_LE(worst, tolerance) << what;
  ::testing::Test::RecordProperty(what, cat(worst));
}

void expect_embeddings(const Model& m, const json& want, double tolerance) {
  auto embed = [&](const Tensor& x) { return row(run(m.graph, m.tensors, {x})[0], 0); };
  auto a = embed(recipe::image_g("input0")), b = embed(recipe::image_g("input1")), f = embed(flipped(recipe::image_g("input0")));
  expect_near(a, want["embedding_input0"], tolerance, "input0");
  expect_near(b, want["embedding_input1"], tolerance, "input1");
  expect_near(f, want["embedding_input0_hflip"], tolerance, "flip");
  EXPECT_NEAR(recipe::norm(a), want["norm_input0"], tolerance);
  EXPECT_NEAR(recipe::cosine(a, b), want["cos_in0_in1"], 1e-6);
  EXPECT_NEAR(recipe::cosine(a, f), want["cos_in0_hflip"], 1e-6);
}

json expected(const char* net) { return json::parse(read_file(golden(cat("nn/", net, "_forward.json")))); }

TEST(NnForward, IResNet18GivesThePublishedCodesEmbeddings) { expect_embeddings(iresnet18(), expected("iresnet18"), 1e-4); }

TEST(NnForward, IResNet18InItsInferenceFormToo) { expect_embeddings(fused(iresnet18()), expected("iresnet18"), 1e-4); }

TEST(NnForward, IResNet18AgreesLayerByLayer) { expect_checksums(iresnet18(), expected("iresnet18")["stages_input0"], 1e-4); }

TEST(NnForward, IResNet34GivesThePublishedCodesEmbeddingsAndLayers) {
  Model m = recipe::model_g("iresnet34");
  EXPECT_EQ(m.info.at("arch"), "iresnet34");
  json want = expected("iresnet34");
  EXPECT_NEAR(want["norm_input0"], 31.833216, 1e-6);
  expect_embeddings(m, want, 1.6e-4);
  expect_embeddings(fused(m), want, 1e-4);
  expect_checksums(m, want["stages_input0"], 1.6e-4);
}

// batch_norm right after a convolution becomes weights of that convolution and an added bias.
Model folded(const Model& m) {
  Model f = m;
  std::map<Id, std::string> weights_of;  // by the output of a convolution in the copy
  f.graph = rewrite(m.graph, [&](Graph& copy, const GraphNode& n, const std::vector<Id>& in) {
    auto out = [&] { return copy_node(copy, n, in); };
    std::string op = n.op->name;
    if (op == "conv2d") {
      auto ids = out();
      weights_of[ids[0]] = copy.values[in[1]].name;
      return ids;
    }
    if (op != "batch_norm" || !weights_of.count(in[0])) return out();
    auto per_channel = [&](int k) { return m.tensors.at(copy.values[in[k]].name).values(); };
    auto gamma = per_channel(1), beta = per_channel(2), mean = per_channel(3), var = per_channel(4);
    double eps = static_cast<BatchNormAttrs&>(*n.attrs).eps;
    std::string conv = weights_of[in[0]], bias = stem(copy.values[in[1]].name) + ".folded";
    Tensor w = m.tensors.at(conv).clone();
    std::vector<float> b;
    int64_t row = w.numel() / w.shape()[0];
    for (int64_t o = 0; o < w.shape()[0]; ++o) {
      double scale = gamma[o] / std::sqrt(var[o] + eps);
      b.push_back(static_cast<float>(beta[o] - mean[o] * scale));
      for (int64_t i = o * row; i < (o + 1) * row; ++i) w.data<float>()[i] = static_cast<float>(w.data<float>()[i] * scale);
    }
    int64_t channels = static_cast<int64_t>(b.size());
    f.tensors[conv] = w;
    f.tensors[bias] = Tensor::from({channels}, b);
    Id id = copy.add_value(Value::Kind::parameter, bias, f.tensors[bias].meta());
    return copy.add_node(op_named("add"), nullptr, {in[0], id});
  });
  return f;
}

TEST(NnFolding, BatchNormBehindEveryConvolutionFoldsIntoItsWeights) {
  const Model& m = iresnet18();
  Model f = folded(m);
  int norms = 0;
  for (auto& n : f.graph.nodes) norms += std::string(n.op->name) == "batch_norm";
  EXPECT_EQ(norms, 10) << "8 blocks' bn1, bn2 and features remain";
  Tensor x = recipe::image_g("input0");
  auto before = row(run(m.graph, m.tensors, {x})[0], 0), after = row(run(f.graph, f.tensors, {x})[0], 0);
  EXPECT_NE(before, after) << "nothing was folded";
  expect_near(after, before, 1e-4, "folded");
}

// bn1 stands before a zero-padded convolution: its shift is missing where the kernel reads padding.
TEST(NnFolding, BatchNormBeforeAPaddedConvolutionDoesNotFoldAtTheBorder) {
  const int64_t size = 6, in = 3, out = 4;
  auto random = [](Shape s, const char* name, double low, double high) {
    uint64_t seed = recipe::fnv1a64(name);
    return recipe::filled(s, [&](int64_t i) { return low + (high - low) * recipe::u01(seed, i); }).to(Dtype::f64);
  };
  Tensor x = random({1, size, size, in}, "x", -1, 1), w = random({out, 3, 3, in}, "w", 0.1, 1);
  Tensor gamma = random({in}, "gamma", 0.5, 1.5), beta = random({in}, "beta", 0.1, 0.3), mean = random({in}, "mean", -0.3, -0.1),
         var = random({in}, "var", 0.5, 1.5);
  Conv2dAttrs padded;
  padded.pad_h = padded.pad_w = 1;
  Tensor truth = conv2d(batch_norm(x, gamma, beta, mean, var, 1e-5), w, padded);
  Tensor scale = div(gamma, sqrt(add_scalar(var, 1e-5))), shift = sub(beta, mul(mean, scale));
  Tensor bias = sum(mul(w, shift), {1, 2, 3});
  auto difference = [&](const Tensor& y) { return abs(sub(y, truth)).values(); };

  auto zeros_outside = difference(add(conv2d(x, mul(w, scale), padded), bias));
  for (int64_t i = 0; i < size * size * out; ++i) {
    int64_t row = i / out / size, column = i / out % size;
    bool border = row == 0 || column == 0 || row == size - 1 || column == size - 1;
    if (border)
      EXPECT_GT(zeros_outside[i], 0.05) << row << "," << column;
    else
      EXPECT_LT(zeros_outside[i], 1e-12) << row << "," << column;
  }

  // Exact with x padded by the value that BatchNorm maps to zero.
  auto neutral = mul_scalar(div(shift, scale), -1).values();
  std::vector<double> wide((size + 2) * (size + 2) * in);
  for (size_t i = 0; i < wide.size(); ++i) wide[i] = neutral[i % in];
  for (int64_t r = 0; r < size; ++r)
    for (int64_t k = 0; k < size * in; ++k) wide[((r + 1) * (size + 2) + 1) * in + k] = x.data<double>()[r * size * in + k];
  for (double d : difference(add(conv2d(Tensor::from({1, size + 2, size + 2, in}, wide), mul(w, scale)), bias))) EXPECT_LT(d, 1e-12);
}

}  // namespace
}  // namespace vitrine
