// ONNX: import against a plain N,C,H,W evaluator of the same file, export and import again, check 26, and refusals.
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "nn/network.h"
#include "tests/unit/onnx_testing.h"

namespace vitrine {
namespace {

TEST(Onnx, ResidualNetworkWithGemm) {
  Builder b;
  std::string x = b.node("Conv", {"data", b.weights("c1.w", {4, 3, 3, 3}), b.weights("c1.b", {4})},
                         {{"kernel_shape", {3, 3}}, {"pads", {1, 1, 1, 1}}, {"strides", {2, 1}}, {"dilations", {1, 1}}}, {{"group", 1}});
  std::string skip = b.node("PRelu", {x, b.weights("slope", {4, 1, 1})});
  x = b.bn(skip, "bn", 4);
  x = b.node("Conv", {x, b.weights("dw.w", {4, 1, 3, 3})}, {{"pads", {1, 1, 1, 1}}}, {{"group", 4}});
  x = b.node("Add", {x, skip});
  x = b.node("Dropout", {x});
  x = b.node("Flatten", {x}, {}, {{"axis", 1}});
  x = b.node("Gemm", {x, b.weights("fc.w", {7, 4 * 3 * 5}), b.weights("fc.b", {7})}, {}, {{"transB", 1}});
  Model m = check_file(b.bytes(b.bn(x, "features", 7)));
  EXPECT_EQ(m.tensors.at("c1.w").shape(), Shape({4, 3, 3, 3}));
  EXPECT_EQ(m.tensors.at("slope").shape(), Shape({4}));
  EXPECT_EQ(m.tensors.at("fc.w").shape(), Shape({7, 60}));
  EXPECT_EQ(m.graph.values[static_cast<size_t>(m.graph.find("bn.m"))].kind, Value::Kind::buffer);
  EXPECT_EQ(m.info.at("source"), "made.onnx");
}

TEST(Onnx, OldExportsWithMatMulReshapeConstantAndScaledInput) {
  Builder b({1, 3, 6, 5}, 9);
  std::string x = b.node("Sub", {"data", b.weights("mean", {1, 3, 1, 1})});
  x = b.node("Mul", {x, b.weights("scale", {1})});
  x = b.node("Div", {x, b.weights("std", {3, 1, 1}, 1, 2)});
  x = b.node("Conv", {x, b.weights("w", {4, 3, 1, 1})});
  x = b.node("PRelu", {x, b.weights("one_slope", {1})});
  std::string shape = b.node("Constant", {});
  auto* value = b.graph().mutable_node(b.graph().node_size() - 1)->add_attribute();
  value->set_name("value");
  io::encode(Tensor::from({2}, std::vector<int64_t>{1, -1}), "", value->mutable_t());
  x = b.node("Reshape", {x, shape});
  x = b.node("MatMul", {x, b.weights("fc", {120, 5})});
  x = b.node("Add", {x, b.weights("bias", {5})});
  x = b.node("Add", {x, b.node("Identity", {"bias"})});
  Model m = check_file(b.bytes(x));
  EXPECT_EQ(m.tensors.count("bias"), 1u);  // two uses of an initialiser are two parameters
}

TEST(Onnx, SlopesAndBiasesOfTheRightCountInAWrongPlaceAreRefused) {
  const auto prelu = [](const Shape& slope, bool flat = false) {
    Builder b(flat ? std::vector<int64_t>{0, 6} : std::vector<int64_t>{0, 6, 6, 6});
    return b.bytes(b.node("PRelu", {"data", b.weights("s", slope)}));
  };
  for (const Shape& s : {Shape{6, 1, 1}, Shape{1, 6, 1, 1}, Shape{1}, Shape{1, 1, 1}}) check_file(prelu(s));
  for (const Shape& s : {Shape{6}, Shape{1, 6}}) check_file(prelu(s, true));
  EXPECT_EQ(io::parse_onnx(prelu({6}), "mxnet").tensors.at("s").shape(), Shape({6}));
  for (const Shape& s : {Shape{1, 1, 6}, Shape{1, 6}, Shape{6, 1}, Shape{1, 6, 1}, Shape{1, 1, 1, 6}})
    EXPECT_TRUE(contains(error_of([&] { io::parse_onnx(prelu(s), "f"); }), "expected one number for each of 6 channels, [C,1,1]")) << s;
  EXPECT_TRUE(contains(error_of([&] { io::parse_onnx(prelu({6, 1}, true), "f"); }), "6 channels, [C]"));

  const auto gemm = [](const Shape& bias) {
    Builder b({5, 4});
    return b.bytes(b.node("Gemm", {"data", b.weights("w", {4, 5}), b.weights("b", bias)}));
  };
  for (const Shape& s : {Shape{5}, Shape{1, 5}, Shape{1}, Shape{1, 1}}) check_file(gemm(s));
  for (const Shape& s : {Shape{5, 1}, Shape{5, 5}, Shape{4}})
    EXPECT_TRUE(contains(error_of([&] { io::parse_onnx(gemm(s), "f"); }), "expected one number for each of 5")) << s;
}

// Pixels as they are for networks that normalise them, known by the names of their first nodes, as in the published loader.
TEST(Onnx, ANetworkWithItsOwnNormalisationIsNotNormalisedTwice) {
  const auto mean_and_std = [](const char* first, const char* second, int before) {
    Builder b;
    std::string x = "data";
    for (int i = 0; i < before; ++i) x = b.node("Relu", {x});
    x = b.node("Sub", {x, b.weights("m", {1})});
    b.graph().mutable_node(before)->set_name(first);
    x = b.node("Mul", {x, b.weights("s", {1})});
    b.graph().mutable_node(before + 1)->set_name(second);
    const Model m = io::parse_onnx(b.bytes(x), "f");
    return m.info.at("mean") + " " + m.info.at("std");
  };
  EXPECT_EQ(mean_and_std("_minusscalar0", "_mulscalar0", 0), "0 1");
  EXPECT_EQ(mean_and_std("Sub_3", "Mul_4", 6), "0 1");
  EXPECT_EQ(mean_and_std("Sub_3", "Mul_4", 7), "127.5 127.5");  // the ninth node does not count
  EXPECT_EQ(mean_and_std("Sub_3", "scale", 0), "127.5 127.5");
  EXPECT_EQ(mean_and_std("bias_minus", "Mul_4", 0), "127.5 127.5");
}

TEST(Onnx, TheMeanOverHeightAndWidthAndNegativeFlattenAxesMeanWhatTheSpecificationSays) {
  for (const auto& axes : {std::vector<int64_t>{2, 3}, {-1, -2}}) {
    Builder b, later({0, 3, 6, 5}, 18);
    check_file(b.bytes(b.node("Flatten", {b.node("ReduceMean", {"data"}, {{"axes", axes}})}, {}, {{"axis", -3}})));
    check_file(later.bytes(later.node("ReduceMean", {"data", later.integers("axes", axes)})));
  }
  for (int64_t keep : {0, 1}) {
    Builder b;
    check_file(b.bytes(b.node("ReduceMean", {"data"}, {{"axes", {3, 2}}}, {{"keepdims", keep}})));
  }
  const auto refused = [](const std::vector<int64_t>& axes) {
    Builder b;
    const std::string x = b.node("ReduceMean", {"data"}, {{"axes", axes}});
    return contains(error_of([&] { io::parse_onnx(b.bytes(x), "f"); }), "expected height and width of an image");
  };
  EXPECT_TRUE(refused({1, 2}) && refused({2}) && refused({}));
  Builder b;
  EXPECT_TRUE(contains(error_of([&] { io::parse_onnx(b.bytes(b.node("Flatten", {"data"}, {}, {{"axis", -2}})), "f"); }), "axis -2"));
}

// As PyTorch's exporter writes them by default; more than eight times the size of the .onnx itself.
TEST(Onnx, ExternalDataIsReadFromBesideTheModelAndFromNowhereElse) {
  Builder b({0, 3, 1, 1});
  const std::string x = b.node("Flatten", {b.node("Conv", {"data", b.weights("w", {500, 3, 1, 1})})}), whole = b.bytes(x);
  const TemporaryFile model("outside.onnx"), data("outside.onnx.data");
  const std::string raw = b.graph().initializer(0).raw_data(), name = std::filesystem::path(data.path).filename();
  std::ofstream(data.path, std::ios::binary) << "12345678" << raw;
  const auto opened = [&](const std::string& location, const std::string& offset, const std::string& length) {
    auto* t = b.graph().mutable_initializer(0);
    t->clear_raw_data(), t->clear_external_data(), t->set_data_location(onnx::TensorProto::EXTERNAL);
    for (auto& [key, value] : {std::pair<std::string, std::string>("location", location), {"offset", offset}, {"length", length}}) {
      if (value.empty()) continue;
      auto* entry = t->add_external_data();
      entry->set_key(key), entry->set_value(value);
    }
    std::ofstream(model.path, std::ios::binary) << b.bytes(x);
    return io::import_onnx(model.path);
  };
  const Tensor expected = io::parse_onnx(whole, "f").tensors.at("w");
  expect_same(opened(name, "8", "6000").tensors.at("w"), expected, "with a length");
  expect_same(opened("./" + name, "8", "").tensors.at("w"), expected, "without");
  for (auto [offset, length] : {std::pair("9", "6000"), {"-1", "6000"}, {"8", "5999"}, {"x", ""}, {"9223372036854775807", ""}}) {
    const std::string message = error_of([&] { opened(name, offset, length); });
    EXPECT_TRUE(contains(message, cat("has 6008 bytes, expected 6000 at offset ", offset))) << message;
  }
  for (const std::string& location : {"../" + std::filesystem::temp_directory_path().filename().string() + "/" + name, data.path,
                                      name + ".none", std::string(), std::string(".")}) {
    const std::string message = error_of([&] { opened(location, "8", "6000"); });
    EXPECT_TRUE(contains(message, "expected a file beside the model")) << message;
  }
  EXPECT_TRUE(contains(error_of([&] { io::parse_onnx(b.bytes(x), "f"); }), "the data lies in another file"));
}

TEST(Onnx, SqueezeExciteTransposeAndFlattenedOutput) {
  Builder b;
  std::string x = b.node("Conv", {"data", b.weights("w", {4, 3, 1, 1})});
  std::string gate = b.node("Sigmoid", {b.node("Conv", {b.node("GlobalAveragePool", {x}), b.weights("se", {4, 4, 1, 1})})});
  x = b.node("Mul", {x, gate});
  x = b.node("Relu", {x});
  check_file(b.bytes(x));                                                      // an image as output
  check_file(b.bytes(b.node("Flatten", {x})));                                 // flattened: in ONNX's order of columns
  check_file(b.bytes(b.node("Flatten", {b.node("GlobalAveragePool", {x})})));  // the mean of an image
  check_file(b.bytes(b.node("Transpose", {x}, {{"perm", {0, 2, 3, 1}}})));
  check_file(b.bytes(b.node("Mul", {b.weights("s", {1}), b.node("Flatten", {x})})));
  check_file(b.bytes(b.bn(b.node("Flatten", {x}), "flat", 120)));
  check_file(b.bytes(b.node("Add", {x, b.weights("map", {4, 6, 5})})));  // one constant per pixel
}

TEST(Onnx, ExportMergesBiasesAndNamesItsEnds) {
  Builder b;
  std::string x = b.node("Conv", {"data", b.weights("data.1", {4, 3, 1, 1}), b.weights("v2", {4})});
  x = b.node("Gemm", {b.node("Flatten", {x}), b.weights("fc", {5, 120}), b.weights("output", {5})}, {}, {{"transB", 1}});
  TemporaryFile file("merged.onnx");
  io::export_onnx(file.path, io::parse_onnx(b.bytes(x), "f"));
  onnx::ModelProto p;
  ASSERT_TRUE(p.ParseFromString(read_file(file.path)));
  EXPECT_EQ(p.ir_version(), 6);
  EXPECT_EQ(p.opset_import(0).version(), 11);
  EXPECT_EQ(p.graph().input(0).name(), "data");
  EXPECT_EQ(p.graph().input(0).type().tensor_type().shape().dim(1).dim_value(), 3);
  std::string ops;
  std::set<std::string> names = {"data"};
  for (auto& t : p.graph().initializer()) EXPECT_TRUE(names.insert(t.name()).second) << t.name();
  for (auto& n : p.graph().node()) {
    ops += n.op_type() + " ";
    EXPECT_TRUE(names.insert(n.output(0)).second) << n.output(0);
  }
  EXPECT_EQ(ops, "Conv Flatten Gemm ");
  check_file(b.bytes(x));
}

TEST(Onnx, OperatorsOfTheReferenceExportsAreSupported) {  // check 26
  Builder b;
  std::string message = error_of([&] { io::parse_onnx(b.bytes(b.node("LSTM", {"data"})), "f.onnx"); });
  EXPECT_TRUE(contains(message, "f.onnx: node 0 'n1' (LSTM): operator is not supported, expected one of Add ")) << message;
  auto histogram = nlohmann::json::parse(read_file(golden("io/onnx_op_histogram.json")));
  ASSERT_EQ(histogram.size(), 3u);
  for (const auto& [name, network] : histogram.items())
    for (const auto& [op, count] : network["ops"].items()) EXPECT_TRUE(contains(message + " ", " " + op + " ")) << op;
}

// Check 26 on our own export: the same nodes as the reference's, except that it has folded the BatchNorms that follow a convolution.
TEST(Onnx, ExportedIResNetHasTheReferenceOperators) {
  auto histogram = nlohmann::json::parse(read_file(golden("io/onnx_op_histogram.json")));
  Model m = nn::make_model("iresnet18", 1, {.height = 48, .width = 32, .channels = 0.25});
  TemporaryFile file("iresnet18.onnx");
  io::export_onnx(file.path, m);
  onnx::ModelProto p;
  ASSERT_TRUE(p.ParseFromString(read_file(file.path)));
  std::map<std::string, int> ops, expected = histogram["iresnet18"]["ops"];
  for (auto& n : p.graph().node()) ++ops[n.op_type()];
  expected["BatchNormalization"] += expected["Conv"];  // one after every convolution
  EXPECT_EQ(ops, expected);
  Model back = io::import_onnx(file.path);
  EXPECT_EQ(back.info.at("mean"), m.info.at("mean"));
  Tensor x = random_images({1, 48, 32, 3});
  EXPECT_EQ(run(back.graph, back.tensors, {x})[0].values<float>(), run(m.graph, m.tensors, {x})[0].values<float>());
}

TEST(Onnx, RefusesWithReason) {
  auto refuse = [](Builder& b, const std::string& output, const char* text) {
    std::string message = error_of([&] { io::parse_onnx(b.bytes(output), "f"); });
    EXPECT_TRUE(contains(message, text)) << message;
  };
  auto with = [&](const char* text, auto build) {
    Builder b;
    refuse(b, build(b), text);
  };
  with("'nothing' is not known here", [](Builder& b) { return b.node("Relu", {"nothing"}); });
  with("expected the same on opposite sides", [](Builder& b) {
    return b.node("Conv", {"data", b.weights("w", {4, 3, 3, 3})}, {{"pads", {0, 0, 1, 1}}});
  });
  with("expected 2 integers", [](Builder& b) { return b.node("Conv", {"data", b.weights("w", {4, 3, 3, 3})}, {{"strides", {1}}}); });
  with("expected 4 integers from 0 to 16384", [](Builder& b) {
    return b.node("Conv", {"data", b.weights("w", {4, 3, 3, 3})}, {{"pads", {INT64_MAX, 0, INT64_MAX, 0}}});
  });
  with("expected input 1 to be a constant", [](Builder& b) { return b.node("Conv", {"data", "data"}); });
  with("input channels", [](Builder& b) { return b.node("Conv", {"data", b.weights("w", {4, 2, 3, 3})}); });
  with("slope [5], expected one number for each of 3", [](Builder& b) { return b.node("PRelu", {"data", b.weights("s", {5})}); });
  with("expected 90 inputs", [](Builder& b) { return b.node("MatMul", {b.node("Flatten", {"data"}), b.weights("w", {91, 2})}); });
  with("expected [N,-1]", [](Builder& b) { return b.node("Reshape", {"data", b.integers("s", {1, 6, 3, 5})}); });
  with("expected alpha 1", [](Builder& b) {
    return b.node("Gemm", {b.node("Flatten", {"data"}), b.weights("w", {90, 2})}, {}, {{"transA", 1}});
  });
  with("does not broadcast", [](Builder& b) { return b.node("Add", {"data", b.weights("w", {2, 1, 1})}); });
  with("both inputs are constants", [](Builder& b) { return b.node("Add", {b.weights("v", {2}), b.weights("w", {2})}); });
  with("expected a computed value", [](Builder& b) { return b.weights("w", {2}); });
  with("8 bytes, expected 12 for [3]", [](Builder& b) {
    b.weights("w", {2});
    b.graph().mutable_initializer(0)->set_dims(0, 3);
    return b.node("PRelu", {"data", "w"});
  });
  with("data lies in another file", [](Builder& b) {
    b.weights("w", {3});
    b.graph().mutable_initializer(0)->set_data_location(onnx::TensorProto::EXTERNAL);
    return b.node("PRelu", {"data", "w"});
  });
  Builder old({0, 3, 6, 5}, 6), sizeless({0, 3, 0, 0}), huge({0, 3, 1 << 20, 5}), list({0, 3, 4});
  refuse(old, "data", "opset 6, expected 7");
  refuse(sizeless, "data", "expected a fixed size");
  refuse(huge, "data", "extent 1048576 of axis 2");
  refuse(list, "data", "expected N,C,H,W or N,C");
  EXPECT_TRUE(contains(error_of([] { io::parse_onnx("\xff\xff", "f"); }), "f: not a protobuf message"));

  Model m;
  Id x = m.graph.add_value(Value::Kind::input, "x", {{1, 4}});
  m.graph.outputs = m.graph.add_node(op_named("exp"), nullptr, {x});
  std::string message = error_of([&] { io::export_onnx("/tmp/never", m); });
  EXPECT_TRUE(contains(message, "operator exp has no ONNX form")) << message;
}

}  // namespace
}  // namespace vitrine
