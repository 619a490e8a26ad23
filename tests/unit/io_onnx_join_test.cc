// ONNX networks whose layers split and join: Concat, Split, Slice and MaxPool, in and out, refused with a reason, and pruned.
#include "tests/unit/onnx_testing.h"
#include "tests/unit/prune_testing.h"

namespace vitrine {
namespace {

// A stem, pooled; a Split whose parts go two ways, one of them through a convolution; a Concat of both; a Slice of that; a matrix.
struct Inception : Builder {
  std::string out;
  explicit Inception(int opset = 11) : Builder({0, 3, 12, 10}, opset) {
    auto conv = [&](const std::string& x, const std::string& name, Shape w, int64_t pad) {
      return node("Conv", {x, weights(name, w, -0.3, 0.3), weights(name + ".b", {w[0]})}, {{"pads", {pad, pad, pad, pad}}});
    };
    std::string x = node("PRelu", {bn(conv("data", "stem", {14, 3, 3, 3}, 1), "bn", 14), weights("slope", {14, 1, 1})});
    x = node("MaxPool", {x}, {{"kernel_shape", {3, 3}}, {"strides", {2, 2}}, {"pads", {1, 1, 1, 1}}});
    std::string left = opset < 13 ? node("Split", {x}, {{"split", {8, 6}}}, {{"axis", 1}})
                                  : node("Split", {x, integers("sizes", {8, 6})}, {}, {{"axis", -3}});
    const std::string right = output("right");
    left = conv(left, "left", {6, 8, 3, 3}, 1);
    x = node("Concat", {left, node("Add", {left, right}), conv(right, "deep", {5, 6, 1, 1}, 0)}, {}, {{"axis", 1}});
    x = node("Slice", {x, integers("from", {3, 1}), integers("to", {15, 5}), integers("axes", {1, 2})});
    out = node("Gemm", {node("Flatten", {x}), weights("fc", {7, 12 * 4 * 5}, -0.1, 0.1)}, {}, {{"transB", 1}});
  }
};

TEST(OnnxJoin, SplitConcatSliceAndMaxPoolMeanWhatTheSpecificationSays) {
  for (int opset : {11, 13}) {
    Inception b(opset);
    const Model m = check_file(b.bytes(b.out));
    int64_t slices = 0;
    for (auto& n : m.graph.nodes) slices += std::string(n.op->name) == "slice";
    EXPECT_EQ(slices, 2 + 2) << "of the split and of two axes";
  }
}

// As ShuffleNet has it: grouped convolutions, and channels that change groups between them.
struct Shuffled : Builder {
  std::string out;
  Shuffled() {
    std::string x = bn(node("Conv", {"data", weights("a", {12, 3, 1, 1})}), "bn", 12);
    x = node("Conv", {x, weights("b", {12, 4, 3, 3}, -0.3, 0.3)}, {{"pads", {1, 1, 1, 1}}}, {{"group", 3}});
    x = node("Reshape", {x, integers("groups", {0, 3, 4, 6, 5})});
    x = node("Transpose", {x}, {{"perm", {0, 2, 1, 3, 4}}});
    x = node("Reshape", {x, integers("whole", {-1, 12, 6, 5})});
    x = node("Conv", {x, weights("c", {6, 12, 1, 1})});
    out = node("Gemm", {node("Flatten", {node("GlobalAveragePool", {x})}), weights("fc", {4, 6})}, {}, {{"transB", 1}});
  }
};

TEST(OnnxJoin, ChannelShuffle) {
  Shuffled b;
  const Model m = check_file(b.bytes(b.out));
  const prune::Structure s = prune::find_groups(m.graph);
  const Channels &rows = s.of[static_cast<size_t>(m.graph.find("b"))][0], &columns = s.of[static_cast<size_t>(m.graph.find("c"))][3];
  for (size_t i = 0; i < 12; ++i) EXPECT_EQ(columns[i], rows[i % 3 * 4 + i / 3]) << i;
  prune::expect_zero_equivalence(m);
  TemporaryFile file("less.onnx");  // what is left goes out and comes back
  const Model less = prune::apply(m, s, prune::select(m.graph, s, std::vector<double>(s.group_of.size()), {.ratio = 0.5}));
  io::export_onnx(file.path, less);
  const Model back = io::import_onnx(file.path);
  const Tensor x = random_images({1, 6, 5, 3});
  EXPECT_EQ(run(back.graph, back.tensors, {x})[0].values<float>(), run(less.graph, less.tensors, {x})[0].values<float>());
}

TEST(OnnxJoin, FlatOperandsAndWholeSlices) {
  Builder b;
  std::string x = b.node("Conv", {"data", b.weights("w", {4, 3, 1, 1})});
  const std::string flat = b.node("Flatten", {x});
  check_file(b.bytes(b.node("Concat", {flat, flat}, {}, {{"axis", -1}})));
  std::string halves = b.node("Split", {x}, {}, {{"axis", 1}});
  const std::string second = b.output("second");
  EXPECT_EQ(str(io::parse_onnx(b.bytes(second), "f").graph.values.back().meta), str(Meta{{1, 6, 5, 2}}));
  Builder whole;
  x = whole.node("Slice", {"data", whole.integers("begin", {-100}), whole.integers("end", {INT64_MAX}), whole.integers("axis", {3})});
  EXPECT_EQ(io::parse_onnx(whole.bytes(x), "f").graph.nodes.size(), 0u);
}

TEST(OnnxJoin, RefusesWithReason) {
  auto with = [&](const char* text, auto build) {
    Builder b;
    const std::string output = build(b), message = error_of([&] { io::parse_onnx(b.bytes(output), "f"); });
    EXPECT_TRUE(contains(message, text)) << message;
  };
  using Lists = std::map<std::string, std::vector<int64_t>>;
  with("axis 4, expected -4 to 3", [](Builder& b) { return b.node("Concat", {"data", "data"}, {}, {{"axis", 4}}); });
  with("differ beside axis", [](Builder& b) {
    return b.node("Concat", {"data", b.node("Conv", {"data", b.weights("w", {4, 3, 3, 3})})}, {}, {{"axis", 1}});
  });
  with("sizes [2,2], expected 2 that are positive and together 3", [](Builder& b) {
    b.node("Split", {"data"}, {{"split", {2, 2}}}, {{"axis", 1}});
    return b.output("rest");
  });
  with("expected 1 that are positive", [](Builder& b) { return b.node("Split", {"data"}, {{"split", {1, 2}}}, {{"axis", 1}}); });
  with("expected the batch to stay whole", [](Builder& b) { return b.node("Split", {"data"}, {{"split", {1}}}); });
  with("step 2, expected 1", [](Builder& b) {
    return b.node("Slice", {"data", b.integers("a", {0}), b.integers("b", {2}), b.integers("c", {1}), b.integers("d", {2})});
  });
  with("[2, 1) of 3, expected at least one index", [](Builder& b) {
    return b.node("Slice", {"data", b.integers("a", {2}), b.integers("b", {1}), b.integers("c", {1})});
  });
  with("1 starts, 2 ends and 1 axes", [](Builder& b) {
    return b.node("Slice", {"data", b.integers("a", {2}), b.integers("b", {1, 3}), b.integers("c", {1})});
  });
  with("found channels in groups", [](Builder& b) {
    return b.node("Relu", {b.node("Reshape", {"data", b.integers("s", {0, 1, 3, 6, 5})})});
  });
  with("to [0,2,2,6,5], expected [N,-1], or channels in groups", [](Builder& b) {
    return b.node("Reshape", {"data", b.integers("s", {0, 2, 2, 6, 5})});
  });
  for (auto& [text, lists, ceil] : {std::tuple("expected ceil_mode 0", Lists{{"kernel_shape", {2, 2}}}, 1),
                                    std::tuple("expected an attribute kernel_shape", Lists{}, 0),
                                    std::tuple("less padding than window", Lists{{"kernel_shape", {2, 2}}, {"pads", {2, 2, 2, 2}}}, 0),
                                    std::tuple("do not fit", Lists{{"kernel_shape", {7, 7}}}, 0)})
    with(text, [&](Builder& b) { return b.node("MaxPool", {"data"}, lists, {{"ceil_mode", ceil}}); });
}

// Invariant Z on what was imported, and exact widths: each part of a split is pruned where it lies.
TEST(OnnxJoin, ImportedNetworksArePruned) {
  Inception b;
  const Model m = io::parse_onnx(b.bytes(b.out), "f");
  const prune::Structure s = prune::find_groups(m.graph);
  const auto rows = [&](const char* name) -> const Channels& { return s.of[static_cast<size_t>(m.graph.find(name))][0]; };
  EXPECT_NE(s.group_of[static_cast<size_t>(rows("stem")[0])], s.group_of[static_cast<size_t>(rows("stem")[8])]);
  for (int i = 0; i < 6; ++i)
    EXPECT_EQ(rows("stem")[static_cast<size_t>(8 + i)], rows("left")[static_cast<size_t>(i)]) << "added: one and the same";
  prune::expect_zero_equivalence(m);
  const Graph half = prune::uniform(m.graph, 0.5);
  EXPECT_EQ(half.values[static_cast<size_t>(half.find("stem"))].meta.shape, Shape({4 + 3, 3, 3, 3}));
  EXPECT_EQ(half.values[static_cast<size_t>(half.find("deep"))].meta.shape[3], 3);
}

}  // namespace
}  // namespace vitrine
