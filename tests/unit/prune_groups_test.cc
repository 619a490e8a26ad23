// Small networks with everything that ties channels together: exact counts, indices, reasons, and invariant Z for every group.
#include "tests/unit/data_testing.h"
#include "tests/unit/prune_testing.h"

namespace vitrine::prune {
namespace {

using data::error_of;
const Shape kImage{1, 6, 6, 3};

std::vector<int64_t> widths(const Graph& g, const std::string& tensor) {
  const Shape& s = g.values[g.find(tensor)].meta.shape;
  return {s[0], s.back()};
}
using Widths = std::vector<int64_t>;

Tensor pooled_head(Net& n, const Tensor& x, int64_t out) { return n.fc("fc", mean(x, {1, 2}), out); }

Tensor shuffle(const Tensor& x, int64_t groups) {
  const Shape& s = x.shape();
  return reshape(transpose(reshape(x, {0, s[1], s[2], groups, s[3] / groups}), {0, 1, 2, 4, 3}), {0, s[1], s[2], s[3]});
}

TEST(PruneGroups, IdentityResidualsAreOneStream) {
  const Model m = make({1, 8, 8, 3}, [](Net& n, const Tensor& x) {
    Tensor y = relu(n.bn("bn", n.conv("stem", x, 16, 3)));
    for (const std::string b : {"a", "b"}) {
      Tensor z = relu(n.bn(b + ".bn1", n.conv(b + ".conv1", y, 16, 3)));
      y = relu(add(n.bn(b + ".bn2", n.conv(b + ".conv2", z, 16, 3)), y));
    }
    return pooled_head(n, y, 10);
  });
  EXPECT_EQ(params(m.graph), 9978);
  EXPECT_EQ(prunable(find_groups(m.graph)), 3);
  EXPECT_EQ(params(uniform(m.graph, 0.2)), 5758);
  EXPECT_EQ(params(uniform(m.graph, 0.5)), 2690);
  expect_zero_equivalence(m);
}

TEST(PruneGroups, DepthwiseConvolutionsPassChannelsOn) {
  const Model m = make({1, 8, 8, 3}, [](Net& n, const Tensor& x) {
    Tensor y = n.bn("bn0", n.conv("stem", x, 16, 3));
    Tensor z = n.prelu("act1", n.bn("bn1", n.conv("expand", y, 64)));
    z = n.prelu("act2", n.bn("bn2", n.conv("dw", z, 64, 3, Conv2dAttrs(1, 1, 64))));
    return pooled_head(n, add(n.bn("bn3", n.conv("project", z, 16)), y), 10);
  });
  EXPECT_EQ(params(m.graph), 3674);
  EXPECT_EQ(params(uniform(m.graph, 0.2)), 2491);
  EXPECT_EQ(params(uniform(m.graph, 0.5)), 1330);
  EXPECT_EQ(widths(uniform(m.graph, 0.2), "dw.weight"), Widths({51, 1}));
  expect_zero_equivalence(m);
}

// A multiplier makes several channels of one: they go with it.
TEST(PruneGroups, DepthMultiplier) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.conv("dw", n.conv("a", x, 8, 1, true), 16, 3, Conv2dAttrs(1, 1, 8), true);
    return pooled_head(n, n.bn("bn", y), 4);
  });
  const Graph g = uniform(m.graph, 0.25);
  EXPECT_EQ(widths(g, "a.weight")[0], 6);
  EXPECT_EQ(widths(g, "dw.weight"), Widths({12, 1}));
  EXPECT_EQ(widths(g, "fc.weight"), Widths({4, 12}));
  expect_zero_equivalence(m);
}

TEST(PruneGroups, GroupedConvolutionsStayAligned) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.conv("grouped", n.bn("bn", n.conv("a", x, 16, 3)), 24, 3, Conv2dAttrs(1, 1, 4), true);
    return pooled_head(n, y, 4);
  });
  const Structure s = find_groups(m.graph);
  const Channels& in = s.of[m.graph.find("a.weight")][0];
  for (int i = 0; i < 16; ++i) EXPECT_EQ(in[i], in[i % 4]) << "position " << i << " of its group goes in all groups";
  EXPECT_EQ(widths(uniform(m.graph, 0.25), "grouped.weight"), Widths({16, 3}));
  expect_zero_equivalence(m);
  EXPECT_EQ(widths(uniform(m.graph, 0.25, {.whole_groups = true}), "grouped.weight"), Widths({18, 4}));
  expect_zero_equivalence(m, {.whole_groups = true});
}

TEST(PruneGroups, AConvolutionWithOneOutputIsNotDepthwise) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.conv("a", x, 8, 3), mask = sigmoid(n.conv("mask", y, 1, 1, true));
    return pooled_head(n, mul(n.bn("bn", y), mask), 4);
  });
  EXPECT_EQ(widths(uniform(m.graph, 0.5), "mask.weight"), Widths({1, 4})) << "its input is pruned, its one output is not";
  expect_zero_equivalence(m);
}

TEST(PruneGroups, LeNet) {
  const Model m = make({1, 28, 28, 1}, [](Net& n, const Tensor& x) {
    auto pool = [](const Tensor& t) {
      const Shape& s = t.shape();
      return mean(reshape(t, {0, s[1] / 2, 2, s[2] / 2, 2, s[3]}), {2, 4});
    };
    Tensor y = pool(relu(n.conv("conv1", x, 6, 5, Conv2dAttrs(1, 0), true)));
    y = flatten(pool(relu(n.conv("conv2", y, 16, 5, Conv2dAttrs(1, 0), true))));
    return n.fc("fc3", relu(n.fc("fc2", relu(n.fc("fc1", y, 120)), 84)), 10);
  });
  EXPECT_EQ(params(m.graph), 44426);
  const Graph sp02 = uniform(m.graph, 0.2), sp05 = uniform(m.graph, 0.5);
  EXPECT_EQ(params(sp02), 27023);
  EXPECT_EQ(params(sp05), 11418);
  EXPECT_EQ(widths(sp02, "fc1.weight"), Widths({96, 192}));
  EXPECT_EQ(widths(sp05, "fc1.weight"), Widths({60, 128}));
  const Structure s = find_groups(m.graph);
  Removed removed(s.group_of.size());
  for (int i : {0, 2, 6}) removed[s.of[m.graph.find("conv2.weight")][0][i]] = true;
  const auto columns = left(s.of[m.graph.find("fc1.weight")][1], removed);
  EXPECT_EQ(columns.size(), 208u);
  for (int64_t c : columns) EXPECT_TRUE(c % 16 != 0 && c % 16 != 2 && c % 16 != 6) << c;  // pixel by pixel, the channel is last
  expect_zero_equivalence(m);
}

TEST(PruneGroups, Concatenation) {
  const Model m = make({1, 4, 4, 10}, [](Net& n, const Tensor& x) {
    auto part = [&](const char* name, int64_t width) { return n.conv(name, x, width, 1, true); };
    Tensor all = concat({concat({part("a", 10), part("b", 20)}, -1), concat({part("c", 30), part("d", 60)}, -1)}, -1);
    return n.conv("out", all, 10, 1, true);
  });
  EXPECT_EQ(params(m.graph), 2530);
  EXPECT_EQ(params(uniform(m.graph, 0.2)), 2026);
  EXPECT_EQ(params(uniform(m.graph, 0.5)), 1270);
  EXPECT_EQ(widths(uniform(m.graph, 0.2), "out.weight"), Widths({10, 96}));
  expect_zero_equivalence(m);
}

TEST(PruneGroups, DenselyConnected) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor all = n.conv("stem", x, 6, 3);
    for (const std::string b : {"a", "b", "c"}) all = concat({all, n.conv(b, n.prelu(b + ".act", n.bn(b + ".bn", all)), 4, 3)}, -1);
    return pooled_head(n, n.bn("bn", all), 5);
  });
  EXPECT_EQ(prunable(find_groups(m.graph)), 4);
  expect_zero_equivalence(m);
}

TEST(PruneGroups, TheSameTensorTwiceInOneConcatenation) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.conv("a", x, 6, 3);
    return pooled_head(n, n.conv("b", concat({y, n.conv("c", x, 2), y}, -1), 4), 3);
  });
  EXPECT_EQ(widths(uniform(m.graph, 0.5), "b.weight"), Widths({2, 7}));
  expect_zero_equivalence(m);
}

// A part of a split goes one way, the other another: each is pruned by itself, at the indices where it lies.
TEST(PruneGroups, ASplitLayerHasAGroupForEachPart) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.conv("split", x, 20, 1, true), z = n.bn("b2", concat({slice(y, -1, 0, 10), n.conv("x3", x, 4)}, -1));
    return pooled_head(n, add(n.conv("a", z, 10), slice(y, -1, 10, 20)), 3);
  });
  const Structure s = find_groups(m.graph);
  const Channels& rows = s.of[m.graph.find("split.weight")][0];
  EXPECT_NE(s.group_of[rows[0]], s.group_of[rows[10]]);
  EXPECT_EQ(rows[12], s.of[m.graph.find("a.weight")][0][2]) << "the second half, not the first";
  EXPECT_EQ(widths(uniform(m.graph, 0.5), "split.weight")[0], 10);
  expect_zero_equivalence(m);
}

TEST(PruneGroups, UnevenHalvesOfAChunkRun) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.conv("chunk", x, 12, 3), swapped = concat({slice(y, -1, 6, 12), slice(y, -1, 0, 6)}, -1);
    return pooled_head(n, n.conv("next", swapped, 5), 3);  // both halves are alike: one group, ranked together
  });
  const Structure s = find_groups(m.graph);
  const Channels& rows = s.of[m.graph.find("chunk.weight")][0];
  ASSERT_EQ(s.group_of[rows[0]], s.group_of[rows[6]]);
  Removed removed(s.group_of.size());
  for (int i : {0, 1, 2, 7}) removed[rows[i]] = true;
  const Model less = apply(m, s, removed), full = silenced<float>(m, s, removed);
  const Tensor x = random_input(m.graph, Dtype::f32);
  auto want = run(full.graph, full.tensors, {x})[0].values<double>(), got = run(less.graph, less.tensors, {x})[0].values<double>();
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5);
  expect_zero_equivalence(m);
}

TEST(PruneGroups, HalvesThatAreAddedGoTogether) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.conv("a", x, 16, 3, true);
    return pooled_head(n, n.bn("bn", add(slice(y, -1, 0, 8), slice(y, -1, 8, 16))), 3);
  });
  EXPECT_EQ(widths(uniform(m.graph, 0.5), "a.weight")[0], 8);
  expect_zero_equivalence(m);
}

TEST(PruneGroups, ChannelShuffle) {
  const Model m = make({1, 4, 4, 3}, [](Net& n, const Tensor& x) {
    return n.conv("out", n.conv("b", shuffle(n.conv("a", x, 8, 1, true), 2), 8, 1, true), 10, 1, true);
  });
  EXPECT_EQ(params(m.graph), 194);
  const Structure s = find_groups(m.graph);
  const Channels &rows = s.of[m.graph.find("a.weight")][0], &columns = s.of[m.graph.find("b.weight")][3];
  const int position[] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (int p = 0; p < 8; ++p) EXPECT_EQ(columns[p], rows[position[p]]) << p;
  EXPECT_EQ(params(uniform(m.graph, 0.2)), 136);
  EXPECT_EQ(params(uniform(m.graph, 0.5)), 86);
  expect_zero_equivalence(m);
}

TEST(PruneGroups, ShuffledGroupedConvolutions) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.bn("bn1", n.conv("g1", n.conv("a", x, 12), 12, 3, Conv2dAttrs(1, 1, 3)));
    return pooled_head(n, n.conv("g2", shuffle(y, 3), 12, 3, Conv2dAttrs(1, 1, 3), true), 4);
  });
  expect_zero_equivalence(m);
}

// A vector becomes an image and is enlarged by transposed convolutions.
TEST(PruneGroups, ViewOfAVectorAndTransposedConvolutions) {
  const Model m = make({1, 512}, [](Net& n, const Tensor& x) {
    auto up = [&](const char* name, const Tensor& t, int64_t out) {
      const int64_t side = 2 * t.shape()[1];
      Tensor y = conv2d_grad_x(t, n.param(cat(name, ".weight"), {t.shape()[3], 4, 4, out}, -0.1, 0.1), Conv2dAttrs(2, 1), side, side);
      return relu(add(y, n.param(cat(name, ".bias"), {out})));
    };
    Tensor y = reshape(n.fc("fc1", x, 4096), {0, 4, 4, 256});
    return n.fc("fc2", flatten(up("up2", up("up1", y, 128), 64)), 10);
  });
  EXPECT_EQ(params(m.graph), 2920650);
  const Graph sp02 = uniform(m.graph, 0.2);
  EXPECT_EQ(params(sp02), 2221315);
  EXPECT_EQ(params(uniform(m.graph, 0.5)), 1296490);
  EXPECT_EQ(widths(sp02, "fc1.weight"), Widths({3264, 512}));
  EXPECT_EQ(widths(sp02, "fc2.weight"), Widths({10, 13056}));
  expect_zero_equivalence<float>(m, 1e-5);
}

TEST(PruneGroups, GroupedAndDepthwiseTransposedConvolutions) {
  for (int64_t groups : {1, 2, 8}) {
    const Model m = make({1, 3, 3, 4}, [&](Net& n, const Tensor& x) {
      Tensor y = n.bn("bn", n.conv("a", x, 8, 1));
      y = conv2d_grad_x(y, n.param("up.weight", {8, 2, 2, 16 / groups}), Conv2dAttrs(2, 0, groups), 6, 6);
      return pooled_head(n, y, 3);
    });
    SCOPED_TRACE(groups);
    expect_zero_equivalence(m);
  }
}

TEST(PruneGroups, ASharedLayerIsOneLayer) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.conv("a", x, 8, 3);
    for (int i = 0; i < 2; ++i) y = n.prelu("act", n.bn("bn", n.conv("shared", y, 8, 3)));
    return pooled_head(n, y, 3);
  });
  EXPECT_EQ(prunable(find_groups(m.graph)), 1) << "what it reads and what it makes is one: it reads what it made";
  expect_zero_equivalence(m);
}

TEST(PruneGroups, Gating) {  // squeeze and excitation
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.bn("bn", n.conv("a", x, 8, 3));
    Tensor gate = sigmoid(n.conv("up", relu(n.conv("down", mean(y, {1, 2}, true), 4, 1, true)), 8, 1, true));
    return pooled_head(n, mul(y, gate), 3);
  });
  const Structure s = find_groups(m.graph);
  EXPECT_EQ(s.of[m.graph.find("a.weight")][0], s.of[m.graph.find("up.weight")][0]);
  EXPECT_EQ(prunable(s), 2);
  expect_zero_equivalence(m);
}

TEST(PruneGroups, OneSlopeForAllChannels) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) {
    Tensor y = n.conv("a", x, 8, 3, true);
    return pooled_head(n, n.conv("b", prelu(y, expand(n.param("slope", {1}, 0, 0.5), {8})), 4), 3);
  });
  EXPECT_EQ(uniform(m.graph, 0.5).values[m.graph.find("slope")].meta.shape, Shape({1}));
  expect_zero_equivalence(m);
}

TEST(PruneGroups, NormalisedEmbeddings) {
  const Model m = make(kImage, [](Net& n, const Tensor& x) { return l2_normalize(n.fc("fc", flatten(n.conv("a", x, 8, 3)), 6)); });
  expect_zero_equivalence(m, {.outputs = true});
}

std::string why(const Model& m, const std::string& tensor) {
  const Structure s = find_groups(m.graph);
  return s.groups[s.group_of[s.of[m.graph.find(tensor)][0][0]]].fixed;
}

TEST(PruneGroups, AResidualOntoTheInputIsNotPruned) {
  const Model m = make({1, 6, 6, 8}, [](Net& n, const Tensor& x) {
    Tensor y = add(n.conv("b", n.bn("bn", n.conv("a", x, 5, 3)), 8, 3), x);
    return pooled_head(n, y, 3);
  });
  EXPECT_EQ(why(m, "b.weight"), "the network's input data has them");
  EXPECT_EQ(why(m, "a.weight"), "");
  expect_zero_equivalence(m);
}

TEST(PruneGroups, WhatNoRuleUnderstandsIsKeptAndTheReasonIsSaid) {
  const Model most = make(kImage, [](Net& n, const Tensor& x) { return n.fc("fc", max(n.conv("a", x, 8, 3), {1, 3}), 3); });
  EXPECT_EQ(why(most, "a.weight"), "max has no rule for channels along axis 3 of [1,6,6,8]") << "a zero could have been the largest";
}

TEST(PruneGroups, AnImageAxisIsNoChannel) {  // a vector seen as N,C,H,W: the rule would have to remove columns of pixels
  const Model m = make({1, 6}, [](Net& n, const Tensor& x) {
    Tensor y = transpose(reshape(n.fc("fc1", x, 32), {0, 8, 2, 2}), {0, 2, 3, 1});
    return n.fc("fc2", flatten(n.conv("a", y, 4, 1)), 3);
  });
  EXPECT_NE(why(m, "fc1.weight"), "");
  expect_zero_equivalence(m);
}

TEST(PruneGroups, ProtectedLayersKeepTheirOutputsOrTheirInputs) {
  const Model m =
      make(kImage, [](Net& n, const Tensor& x) { return pooled_head(n, n.conv("c", n.conv("b", n.conv("a", x, 8), 8), 8), 3); });
  auto fixed = [&](std::vector<std::string> patterns) {
    std::vector<std::string> names;
    const Structure s = find_groups(m.graph, {.protect = patterns});
    for (auto& group : s.groups)
      if (group.fixed.starts_with("protected")) names.push_back(name(m.graph, group));
    return names;
  };
  EXPECT_EQ(fixed({"b"}), std::vector<std::string>{"b"});
  EXPECT_EQ(fixed({"b:in"}), std::vector<std::string>{"a"});
  EXPECT_EQ(fixed({"[ac]"}), (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(error_of([&] { fixed({"d"}); }), "protect 'd': no layer with weights has this name");
}

}  // namespace
}  // namespace vitrine::prune
