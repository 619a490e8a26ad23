// InsightFace's MobileFaceNet: names, order and shapes of its state dict, its size, and its numbers.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/graph/rewrite.h"
#include "losses/distill.h"
#include "nn/network.h"
#include "nn/optim.h"
#include "quant/placement.h"
#include "tests/golden.h"
#include "tests/recipe.h"

namespace vitrine {
namespace {

using nlohmann::json;

TEST(NnMbf, MembersAreTheStateDictInNamesOrderAndShapes) {
  auto m = nn::make_network("mbf");
  auto members = nn::named_members(*m);
  ASSERT_EQ(members.size(), 333u);
  std::istringstream list(read_file(golden("nn/mbf_keys.txt")));
  std::string line;
  std::getline(list, line);  // the heading
  for (auto& member : members) {
    ASSERT_TRUE(std::getline(list, line));
    std::istringstream columns(line);
    std::string index, name, shape, dtype, kind;
    columns >> index >> name >> shape >> dtype >> kind;
    const Shape& s = member.tensor->shape();
    EXPECT_EQ(member.name, name);
    EXPECT_EQ((s.rank() == 4 ? Shape{s[0], s[3], s[1], s[2]} : s).str(), shape) << name;
    EXPECT_EQ(nn::is_buffer(member.role), kind == "buffer") << name;
  }
  EXPECT_FALSE(std::getline(list, line)) << line;
}

TEST(NnMbf, ParametersMultiplicationsAndLayersAreThePublishedNumbers) {
  auto m = nn::make_network("mbf");
  Model model = nn::to_model(*m, "mbf");
  Count total = count(model.graph);
  json want = json::parse(read_file(golden("nn/arch_summary.json")))["mobilefacenet"];
  EXPECT_EQ(total.params, want["params"]);
  EXPECT_EQ(total.params, 2059520);
  EXPECT_EQ(total.macs, want["macs_conv_fc"]);
  std::map<std::string, int> nodes;
  for (auto& n : total.nodes) ++nodes[n.op->name];
  json ops = json::parse(read_file(golden("io/onnx_op_histogram.json")))["mobilefacenet"]["ops"];
  EXPECT_EQ(nodes["conv2d"], ops["Conv"]);
  EXPECT_EQ(nodes["prelu"], ops["PRelu"]);
  EXPECT_EQ(nodes["add"], ops["Add"]);
  EXPECT_EQ(nodes["matmul"], ops["MatMul"]);
  EXPECT_EQ(nodes["batch_norm"], 50);
}

TEST(NnMbf, EmbeddingsAreThoseOfPyTorch) {
  Model m = recipe::model_g("mbf");
  EXPECT_EQ(m.info.at("arch"), "mbf");
  EXPECT_EQ(m.info.at("std"), "127.5");
  json want = json::parse(read_file(golden("nn/mbf_forward.json")));
  auto embed = [&](const char* name) { return recipe::row(run(m.graph, m.tensors, {recipe::image_g(name)})[0], 0); };
  auto a = embed("input0"), b = embed("input1");
  ASSERT_EQ(a.size(), 512u);
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i], want["embedding_input0"][i], 1e-4) << i;
    EXPECT_NEAR(b[i], want["embedding_input1"][i], 1e-4) << i;
  }
  EXPECT_NEAR(recipe::norm(a), want["norm_input0"], 1e-4);
  EXPECT_NEAR(recipe::cosine(a, b), want["cos_in0_in1"], 1e-6);
}

TEST(NnMbf, OtherInputSizesAndEmbeddingsAreRecognised) {
  auto m = nn::make_network("mbf", {112, 96, 1, 64});
  auto state = recipe::state_dict(*m, [](const std::string& name, const Shape& s, int) { return recipe::weight_g(name, s); });
  Model model = nn::from_state_dict(state, "small.pth");
  EXPECT_EQ(model.graph.values[model.graph.inputs[0]].meta.shape, Shape({1, 112, 96, 3}));
  EXPECT_EQ(model.graph.values[model.graph.outputs[0]].meta.shape, Shape({1, 64}));
  EXPECT_THROW(nn::make_network("mbf", {100, 112}), Error);
  EXPECT_THROW(nn::make_network("mbf", {112, 112, 0.5}), Error);
}

TEST(NnMbf, IsQuantizedAndTrained) {
  nn::NetworkOptions small{32, 32, 1, 32};
  Model teacher = nn::make_model("mbf", 1, small), student = quant::quantface(nn::make_model("mbf", 2, small), {8, 8});
  auto census = quant::census(student.graph);
  EXPECT_EQ(census.convolutions, 49);
  EXPECT_EQ(census.matrices, 1);
  Graph training = with_batch_statistics(quant::with_running_ranges(student.graph));
  nn::Sgd sgd(student.tensors, nn::trainable(student), {.lr = 0.01});
  Tensor x = recipe::filled({4, 32, 32, 3}, [](int64_t i) { return 2 * recipe::u01(1, i) - 1; });
  Tensor target = run(teacher.graph, teacher.tensors, {x})[0];
  for (int i = 0; i < 2; ++i) {
    double length = sgd.step(grad(losses::embedding_mse(run(training, student.tensors, {x})[0], target), sgd.parameters()));
    EXPECT_TRUE(std::isfinite(length) && length > 0);
  }
}

}  // namespace
}  // namespace vitrine
