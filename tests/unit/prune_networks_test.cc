// The known networks: groups, exact counts after pruning, and invariant Z for every group.
#include "nn/io/model_file.h"
#include "nn/io/onnx.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/prune_testing.h"

namespace vitrine::prune {
namespace {

struct Sizes {
  const char* name;
  int groups;  // with the embedding
  std::vector<int> blocks;
  int64_t full, sp02, sp02_embedding, sp02_round8, sp05, macs;
};
const Sizes kSizes[] = {
    {"iresnet18", 14, {2, 2, 2, 2}, 24025600, 17388240, 15323708, 17213696, 9223168, 1664410391},
    {"iresnet34", 22, {3, 4, 6, 3}, 34139328, 23827372, 21762840, 23473432, 11754848, 2839700969},
    {"iresnet50", 30, {3, 4, 14, 3}, 43590848, 29831500, 27766968, 29244632, 14121312, 4014270953},
    {"iresnet100", 55, {3, 13, 30, 3}, 65156160, 43531630, 41467098, 0, 0, 0},
};

class PruneIResNet : public ::testing::TestWithParam<Sizes> {};

TEST_P(PruneIResNet, CountsAreThePublishedOnes) {
  const Sizes& want = GetParam();
  const Model m = shapes_only(want.name);
  EXPECT_EQ(params(m.graph), want.full);
  const Count sp02 = count(uniform(m.graph, 0.2));
  EXPECT_EQ(sp02.params, want.sp02);
  EXPECT_EQ(params(uniform(m.graph, 0.2, {.outputs = true})), want.sp02_embedding);
  if (want.macs) {
    EXPECT_EQ(sp02.macs, want.macs);
    EXPECT_EQ(params(uniform(m.graph, 0.2, {}, 8)), want.sp02_round8);
    EXPECT_EQ(params(uniform(m.graph, 0.5)), want.sp05);
  }
}

// 1 stem, 4 streams, an inner group for each block, 1 embedding.
TEST_P(PruneIResNet, GroupsAreThoseOfTheDependencyGraph) {
  const Sizes& want = GetParam();
  const Model m = shapes_only(want.name, {32, 16, 1.0 / 16, 16});
  const Structure s = find_groups(m.graph, {.outputs = true});
  EXPECT_EQ(prunable(s), want.groups);
  EXPECT_EQ(prunable(find_groups(m.graph)), want.groups - 1) << "the embedding is protected";
  std::map<size_t, int> sizes, expected{{2, 1}, {6, 1}};
  for (int stage = 0; stage < 4; ++stage) expected[4 * want.blocks[stage] + (stage < 3 ? 3 : 2)]++, expected[4] += want.blocks[stage];
  for (auto& group : s.groups)
    if (group.fixed.empty()) sizes[layers(m.graph, group).size()]++;
  EXPECT_EQ(sizes, expected);
  const Group& stem = s.groups[s.group_of[s.of[m.graph.find("bn1.weight")][0][0]]];
  EXPECT_EQ(layers(m.graph, stem),
            (std::vector<std::string>{"conv1.out", "bn1", "prelu", "layer1.0.bn1", "layer1.0.conv1.in", "layer1.0.downsample.0.in"}));
  EXPECT_EQ(name(m.graph, stem), "conv1");
}

TEST_P(PruneIResNet, APrunedNetworkIsTheFullOneWithSilencedChannels) {
  const double channels = GetParam().groups > 25 ? 1.0 / 32 : 1.0 / 16;
  expect_zero_equivalence(randomised(shapes_only(GetParam().name, {32, 16, channels, 16})), {.outputs = true});
}

INSTANTIATE_TEST_SUITE_P(, PruneIResNet, ::testing::ValuesIn(kSizes), [](const auto& info) { return std::string(info.param.name); });

TEST(PruneMobileFaceNet, APrunedNetworkIsTheFullOneWithSilencedChannels) {
  for (const char* network : {"mobilefacenet", "mbf"}) {
    SCOPED_TRACE(network);
    expect_zero_equivalence(randomised(shapes_only(network, {16, 16})), {.outputs = true});
  }
}

TEST(PruneMobileFaceNet, CountsAreThePublishedOnes) {
  const Model m = shapes_only("mbf");
  EXPECT_EQ(params(m.graph), 2059520);
  EXPECT_EQ(count(m.graph).macs, 437520896);
  const Structure s = find_groups(m.graph);
  EXPECT_EQ(prunable(s), 21);
  const Count sp02 = count(uniform(m.graph, 0.2)), sp05 = count(uniform(m.graph, 0.5));
  EXPECT_EQ(sp02.params, 1360383);
  EXPECT_EQ(sp02.macs, 262853034);
  EXPECT_EQ(sp05.params, 603712);
  EXPECT_EQ(sp05.macs, 114193664);
}

// With whole groups removed, the stem of 64 groups of two channels loses a fifth and not a half.
TEST(PruneMobileFaceNet, WholeGroupsCanGoInstead) {
  const Model m = shapes_only("mbf", {16, 16});
  const Graph g = uniform(m.graph, 0.2, {.whole_groups = true});
  const Id w = g.find("layers.1.layers.0.weight");
  ASSERT_GE(w, 0);
  EXPECT_EQ(g.values[w].meta.shape, Shape({102, 3, 3, 2}));
  expect_zero_equivalence(randomised(m), {.whole_groups = true});
}

// Torch-Pruning's README example, with a stem of stride 4 instead of its max pooling.
TEST(PruneResNet, Torchvision18) {
  const Model m = make({1, 224, 224, 3}, [](Net& n, const Tensor& x) {
    Tensor y = relu(n.bn("bn1", n.conv("conv1", x, 64, 7, Conv2dAttrs(4, 3))));
    for (int stage = 0; stage < 4; ++stage)
      for (int block = 0; block < 2; ++block) {
        const std::string p = cat("layer", stage + 1, ".", block);
        const int64_t width = 64 << stage, stride = stage && !block ? 2 : 1;
        Tensor z = relu(n.bn(p + ".bn1", n.conv(p + ".conv1", y, width, 3, Conv2dAttrs(stride, 1))));
        z = n.bn(p + ".bn2", n.conv(p + ".conv2", z, width, 3));
        if (stride > 1) y = n.bn(p + ".ds1", n.conv(p + ".ds0", y, width, 1, Conv2dAttrs(2)));
        y = relu(add(z, y));
      }
    return n.fc("fc", mean(y, {1, 2}), 1000);
  });
  EXPECT_EQ(params(m.graph), 11689512);
  const Structure s = find_groups(m.graph);
  EXPECT_EQ(prunable(s), 12);
  EXPECT_EQ(params(uniform(m.graph, 0.5)), 3055880);
  EXPECT_EQ(params(uniform(m.graph, 0.5, {}, 8)), 3055880);
  EXPECT_EQ(params(uniform(m.graph, 0.2)), 7534380);
  auto stem = layers(m.graph, s.groups[s.group_of[s.of[m.graph.find("bn1.weight")][0][0]]]);
  EXPECT_TRUE(std::count(stem.begin(), stem.end(), "layer2.0.conv1.in") && std::count(stem.begin(), stem.end(), "layer2.0.ds0.in"));
}

// An imported network has other names and other nodes, but the same groups.
TEST(PruneOnnx, AnImportedNetworkIsPrunedAlike) {
  const Model m = randomised(shapes_only("iresnet18", {32, 16, 1.0 / 16, 16}));
  const data::Scratch scratch;
  io::export_onnx(scratch / "m.onnx", m);
  const Model imported = io::import_onnx(scratch / "m.onnx");
  EXPECT_EQ(prunable(find_groups(imported.graph, {.outputs = true})), 14);
  EXPECT_EQ(params(uniform(imported.graph, 0.3)), params(uniform(m.graph, 0.3)));
  expect_zero_equivalence<float>(imported, 1e-5, {.outputs = true});
}

TEST(PruneFiles, APrunedModelIsSavedAndReadBackWithTheSameBits) {
  const Model m = randomised(shapes_only("mbf", {16, 16}));
  const Structure s = find_groups(m.graph);
  const Model less = apply(m, s, select(m.graph, s, std::vector<double>(s.group_of.size()), {.ratio = 0.3}));
  const data::Scratch scratch;
  io::save_model(scratch / "m.safetensors", less);
  const Model back = io::load_model(scratch / "m.safetensors");
  EXPECT_EQ(print(back.graph), print(less.graph));
  int64_t numbers = 0;
  for (auto& [name, t] : back.tensors) {
    EXPECT_EQ(t.values<float>(), less.tensors.at(name).values<float>()) << name;
    numbers += t.numel();
  }
  EXPECT_EQ(numbers, count(less.graph).params + count(less.graph).buffers);
  EXPECT_EQ(less.graph.values[less.graph.outputs[0]].meta.shape, m.graph.values[m.graph.outputs[0]].meta.shape);
}

}  // namespace
}  // namespace vitrine::prune
