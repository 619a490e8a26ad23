// The recipe that the golden networks are made with, and what a network is before any number flows: names, order, shapes, sizes.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "nn/io/safetensors.h"
#include "nn/network.h"
#include "tests/golden.h"
#include "tests/recipe.h"
#include "tests/unit/io_testing.h"

namespace vitrine {
namespace {

using nlohmann::json;

json load(const std::string& name) { return json::parse(read_file(golden("nn/" + name))); }

TEST(NnRecipe, HashesAndValuesAreThePublishedOnes) {
  json want = load("recipe_check.json");
  uint64_t seed = recipe::fnv1a64("conv1.weight");
  EXPECT_EQ(std::to_string(seed), want["fnv1a_conv1_weight"].get<std::string>());
  auto first = [](const Tensor& t, size_t n) {
    auto v = t.values();
    return std::vector<double>(v.begin(), v.begin() + n);
  };
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(std::to_string(recipe::raw(seed, i)), want["raw_first3"][i].get<std::string>());
    EXPECT_EQ(recipe::u01(seed, i), want["u01_first3"][i]);
  }
  EXPECT_EQ(first(recipe::weight_g("conv1.weight", {64, 3, 3, 3}), 5), want["conv1_weight_first5"].get<std::vector<double>>());
  EXPECT_EQ(first(recipe::weight_g("bn1.weight", {64}), 3), want["bn1_weight_first3"].get<std::vector<double>>());
  EXPECT_EQ(first(recipe::weight_g("bn1.running_var", {64}), 3), want["bn1_running_var_first3"].get<std::vector<double>>());
  EXPECT_EQ(first(recipe::weight_g("prelu.weight", {64}), 3), want["prelu_first3"].get<std::vector<double>>());
  for (int i = 0; i < 8; ++i) EXPECT_EQ(recipe::pixel_g(recipe::fnv1a64("input0"), i), want["input0_first8"][i]);
  for (int i = 0; i < 3; ++i) {
    double sum = -6;
    for (int k = 0; k < 12; ++k) sum += recipe::u01(recipe::fnv1a64("g"), 12 * i + k);
    EXPECT_EQ(static_cast<float>(sum), want["gauss_like_g_first3"][i].get<float>());
  }
}

struct Size {
  const char* name;
  size_t keys;
  int64_t params, float_buffers, macs;
};
constexpr Size kSizes[] = {{"iresnet18", 187, 24025600, 14720, 2609954816},
                           {"iresnet34", 331, 34139328, 25856, 4459642880},
                           {"iresnet50", 475, 43590848, 38144, 6309330944},
                           {"iresnet100", 925, 65156160, 69632, 12089606144}};

class NnArchitecture : public ::testing::TestWithParam<Size> {};

TEST_P(NnArchitecture, MembersAreTheStateDictInNamesOrderAndShapes) {
  auto m = nn::make_network(GetParam().name);
  auto members = nn::named_members(*m);
  ASSERT_EQ(members.size(), GetParam().keys);
  std::istringstream list(read_file(golden(cat("nn/", GetParam().name, "_keys.txt"))));
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
    EXPECT_EQ(member.tensor->dtype(), dtype == "int64" ? Dtype::i64 : Dtype::f32) << name;
    EXPECT_EQ(nn::is_buffer(member.role), kind == "buffer") << name;
    EXPECT_EQ(member.trainable, kind == "param") << name;
  }
  EXPECT_FALSE(std::getline(list, line)) << line;
}

TEST_P(NnArchitecture, ParametersBuffersAndMultiplicationsAreCountedAsPublished) {
  auto m = nn::make_network(GetParam().name);
  Model model = nn::to_model(*m, GetParam().name);
  Count total = count(model.graph);
  EXPECT_EQ(total.params, GetParam().params);
  EXPECT_EQ(total.buffers, GetParam().float_buffers);
  EXPECT_EQ(total.macs, GetParam().macs);
  json want = load("arch_summary.json")[GetParam().name];
  int64_t trainable = 0, sum = 0, conv_macs = 0, conv_params = 0;
  std::map<std::string, int> nodes;
  for (auto& name : nn::trainable(model)) trainable += model.tensors[name].numel();
  for (auto& n : total.nodes) {
    sum += n.macs, ++nodes[n.op->name];
    if (std::string(n.op->name) == "conv2d") conv_macs += n.macs, conv_params += n.params;
  }
  EXPECT_EQ(trainable, want["trainable"]);
  EXPECT_EQ(sum, total.macs) << "the nodes do not add up to the total";
  EXPECT_EQ(conv_macs, want["macs_conv"]);
  EXPECT_EQ(conv_params, want["conv_weights"]);
  EXPECT_EQ(nodes["conv2d"], want["conv_layers"]);
  EXPECT_EQ(nodes["batch_norm"], want["bn_layers"]);
  EXPECT_EQ(nodes["prelu"], want["prelu_layers"]);
}

INSTANTIATE_TEST_SUITE_P(, NnArchitecture, ::testing::ValuesIn(kSizes), [](const auto& info) { return std::string(info.param.name); });

TEST(NnNetworks, AnUnknownNameListsTheKnownOnes) {
  try {
    nn::make_network("iresnet19");
    FAIL() << "no Error";
  } catch (const Error& e) {
    for (auto& name : nn::network_names()) EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
  }
}

TEST(NnNetworks, RandomWeightsDependOnTheSeedAndOnNothingElse) {
  nn::NetworkOptions tiny{32, 32, 1.0 / 16, 16};
  Model a = nn::make_model("iresnet18", 3, tiny), b = nn::make_model("iresnet18", 3, tiny), c = nn::make_model("iresnet18", 4, tiny);
  for (auto& [name, t] : a.tensors) EXPECT_EQ(t.values(), b.tensors[name].values()) << name;
  EXPECT_NE(a.tensors["conv1.weight"].values(), c.tensors["conv1.weight"].values());
  auto w = nn::make_model("iresnet18", 3, {32, 32, 0.25, 16}).tensors["layer4.1.conv2.weight"].values();  // 147,456 numbers
  double mean = 0, var = 0;
  for (double x : w) mean += x / w.size();
  for (double x : w) var += (x - mean) * (x - mean) / w.size();
  EXPECT_NEAR(mean, 0, 4 * 0.1 / std::sqrt(w.size()));
  EXPECT_NEAR(std::sqrt(var), 0.1, 4 * 0.1 / std::sqrt(2.0 * w.size()));
}

TEST(NnStateDict, WhatDiffersFromTheClosestNetworksIsSaid) {
  auto m = nn::make_network("iresnet18", {112, 112, 1.0 / 16, 16});
  io::StateDict state = recipe::state_dict(*m, [](const std::string& name, const Shape& s, int) { return recipe::weight_g(name, s); });
  EXPECT_EQ(nn::from_state_dict(state, "x/tiny.pth").info.at("arch"), "iresnet18");
  io::StateDict without = state;
  std::erase_if(without.entries, [](auto& e) { return e.first == "layer2.0.conv1.weight"; });
  try {
    nn::from_state_dict(without, "tiny.pth");
    FAIL() << "no Error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("not iresnet18: layer2.0.conv1.weight is missing"), std::string::npos) << e.what();
  }
  state.entries.emplace_back("head.weight", Tensor::zeros({3}));
  try {
    nn::from_state_dict(state, "tiny.pth");
    FAIL() << "no Error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("head.weight is not part of it"), std::string::npos) << e.what();
  }
}

TEST(NnStateDict, TheInputSizeThatFitsBestSaysWhatDiffers) {
  auto m = nn::make_network("mobilefacenet", {112, 96});
  io::StateDict state = recipe::state_dict(*m, [](const std::string&, const Shape& s, int) { return Tensor::full(s, 1); });
  state.entries.emplace_back("head.weight", Tensor::zeros({3}));
  try {
    nn::from_state_dict(state, "small.pth");
    FAIL() << "no Error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("not mobilefacenet: head.weight is not part of it"), std::string::npos) << e.what();
  }
}

TEST(NnStateDict, NumbersThatNoNetworkComputesWithAreRefused) {
  auto m = nn::make_network("iresnet18", {112, 112, 1.0 / 16, 16});
  const io::StateDict good = recipe::state_dict(*m, [](const std::string& name, const Shape& s, int) { return recipe::weight_g(name, s); });
  const auto message = [&](const std::string& name, auto change) {
    io::StateDict state = good;
    for (auto& [key, tensor] : state.entries)
      if (key == name) tensor = change(tensor);
    try {
      nn::from_state_dict(state, "x.pth");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const auto full = [](double v) { return [v](const Tensor& t) { return Tensor::full(t.shape(), v); }; };
  const auto as = [](Dtype d) { return [d](const Tensor& t) { return t.to(d); }; };
  EXPECT_EQ(message("conv1.weight", full(NAN)), "x.pth: conv1.weight holds nan, expected finite numbers");
  EXPECT_EQ(message("bn1.running_mean", full(INFINITY)), "x.pth: bn1.running_mean holds inf, expected finite numbers");
  EXPECT_EQ(message("bn1.running_mean", full(-1)), "");
  EXPECT_EQ(message("bn1.running_var", full(-0.5)), "x.pth: bn1.running_var holds -0.5, expected finite numbers from 0");
  EXPECT_EQ(message("bn1.running_var", full(0)), "");
  EXPECT_EQ(message("bn1.weight", as(Dtype::i64)), "x.pth: bn1.weight is i64[4], expected floating-point numbers");
  EXPECT_EQ(message("bn1.weight", as(Dtype::f64)), "");
}

TEST(NnStateDict, SafetensorsFilesAreUnwrappedToo) {
  auto m = nn::make_network("iresnet18", {112, 112, 1.0 / 16, 16});
  io::TensorFile file;
  for (auto& [name, tensor] : recipe::state_dict(*m, [](const std::string&, const Shape&s, int) { return Tensor::full(s, 1); }).entries)
    file.tensors.emplace_back("module._orig_mod." + name, tensor);
  const TemporaryFile at("wrapped.safetensors");
  io::write_safetensors(at.path, file);
  EXPECT_EQ(nn::open_model(at.path).info.at("arch"), "iresnet18");
}

}  // namespace
}  // namespace vitrine
