// ONNX: import against a plain N,C,H,W evaluator of the same file, export and import again, check 26, and refusals.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/core/rng.h"
#include "engine/ops.h"
#include "nn/io/bytes.h"
#include "nn/io/onnx.h"
#include "nn/io/onnx.pb.h"
#include "nn/io/onnx_tensor.h"
#include "nn/network.h"
#include "tests/unit/io_testing.h"

namespace vitrine {
namespace {

using Attr = onnx::AttributeProto;

// Builds a model file node by node.
struct Builder {
  onnx::ModelProto model;
  Philox rng{7};
  onnx::GraphProto& graph() { return *model.mutable_graph(); }

  explicit Builder(std::vector<int64_t> input = {0, 3, 6, 5}, int opset = 11) {
    model.set_ir_version(6);
    model.add_opset_import()->set_version(opset);
    auto* in = graph().add_input();
    in->set_name("data");
    auto* type = in->mutable_type()->mutable_tensor_type();
    type->set_elem_type(1);
    for (int64_t extent : input) {
      auto* dim = type->mutable_shape()->add_dim();
      if (extent)
        dim->set_dim_value(extent);
      else
        dim->set_dim_param("None");
    }
  }
  std::string weights(const std::string& name, Shape shape, double low = -1, double high = 1) {
    Tensor t = Tensor::zeros(shape);
    for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(low + (high - low) * rng.uniform());
    io::encode(t, name, graph().add_initializer());
    return name;
  }
  std::string integers(const std::string& name, const std::vector<int64_t>& v) {
    io::encode(Tensor::from({static_cast<int64_t>(v.size())}, v), name, graph().add_initializer());
    return name;
  }
  std::string node(const char* op, const std::vector<std::string>& in, const std::map<std::string, std::vector<int64_t>>& lists = {},
                   const std::map<std::string, int64_t>& numbers = {}) {
    auto* n = graph().add_node();
    n->set_op_type(op);
    n->set_name(cat("n", graph().node_size()));
    for (auto& name : in) n->add_input(name);
    n->add_output(cat("t", graph().node_size()));
    for (auto& [name, list] : lists) {
      auto* a = n->add_attribute();
      a->set_name(name), a->set_type(Attr::INTS);
      for (int64_t v : list) a->add_ints(v);
    }
    for (auto& [name, v] : numbers) {
      auto* a = n->add_attribute();
      a->set_name(name), a->set_type(Attr::INT), a->set_i(v);
    }
    return n->output(0);
  }
  std::string bytes(const std::string& output) {
    graph().clear_output();
    graph().add_output()->set_name(output);
    return model.SerializeAsString();
  }
  std::string bn(const std::string& x, const std::string& prefix, int64_t c) {
    return node("BatchNormalization", {x, weights(prefix + ".g", {c}), weights(prefix + ".b", {c}), weights(prefix + ".m", {c}),
                                       weights(prefix + ".v", {c}, 0.5, 1.5)});
  }
};

// The ONNX file as its specification reads, in f64 and N,C,H,W; nothing is shared with the importer but decode().
struct Reference {
  struct Array {
    std::vector<int64_t> dims;
    std::vector<double> v;
  };
  std::map<std::string, Array> values;

  static Array array(const Tensor& t) { return {{t.shape().begin(), t.shape().end()}, t.values<double>()}; }

  static double broadcast(const Array& a, const std::vector<int64_t>& to, int64_t flat) {
    int64_t offset = 0, stride = 1;
    for (size_t i = 0; i < to.size(); ++i) {
      size_t axis = to.size() - 1 - i;
      int64_t index = flat % to[axis];
      flat /= to[axis];
      if (i >= a.dims.size()) continue;
      int64_t extent = a.dims[a.dims.size() - 1 - i];
      offset += (extent == 1 ? 0 : index) * stride;
      stride *= extent;
    }
    return a.v[static_cast<size_t>(offset)];
  }
  static Array conv(const Array& x, const Array& w, const Array* b, const std::vector<int64_t>& pad, const std::vector<int64_t>& stride,
                    int64_t group) {
    int64_t n = x.dims[0], ic = w.dims[1], kh = w.dims[2], kw = w.dims[3], oc = w.dims[0];
    int64_t oh = (x.dims[2] + 2 * pad[0] - kh) / stride[0] + 1, ow = (x.dims[3] + 2 * pad[1] - kw) / stride[1] + 1;
    Array y{{n, oc, oh, ow}, {}};
    for (int64_t i = 0; i < n * oc * oh * ow; ++i) {
      int64_t ox = i % ow, oy = i / ow % oh, o = i / ow / oh % oc, m = i / ow / oh / oc;
      double sum = b ? b->v[static_cast<size_t>(o)] : 0;
      for (int64_t k = 0; k < ic * kh * kw; ++k) {
        int64_t dx = k % kw, dy = k / kw % kh, c = k / kw / kh, px = ox * stride[1] + dx - pad[1], py = oy * stride[0] + dy - pad[0];
        if (px < 0 || py < 0 || px >= x.dims[3] || py >= x.dims[2]) continue;
        int64_t channel = o / (oc / group) * ic + c;
        sum += x.v[static_cast<size_t>(((m * x.dims[1] + channel) * x.dims[2] + py) * x.dims[3] + px)] *
               w.v[static_cast<size_t>(o * ic * kh * kw + k)];
      }
      y.v.push_back(sum);
    }
    return y;
  }
  static Array product(const Array& a, const Array& b, bool tb) {
    int64_t m = a.dims[0], k = a.dims[1], n = b.dims[tb ? 0 : 1];
    Array y{{m, n}, {}};
    for (int64_t i = 0; i < m * n; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < k; ++j)
        sum += a.v[static_cast<size_t>(i / n * k + j)] * b.v[static_cast<size_t>(tb ? i % n * k + j : j * n + i % n)];
      y.v.push_back(sum);
    }
    return y;
  }

  Array eval(const onnx::NodeProto& n) {
    std::string op = n.op_type();
    std::map<std::string, const Attr*> attrs;
    for (auto& a : n.attribute()) attrs[a.name()] = &a;
    auto ints = [&](const char* name, std::vector<int64_t> otherwise) {
      return attrs.count(name) ? std::vector<int64_t>(attrs[name]->ints().begin(), attrs[name]->ints().end()) : otherwise;
    };
    auto integer = [&](const char* name, int64_t otherwise) { return attrs.count(name) ? attrs[name]->i() : otherwise; };
    if (op == "Constant") return array(io::decode(attrs["value"]->t(), ""));
    auto in = [&](int i) -> const Array& { return values.at(n.input(i)); };
    Array y = in(0);
    auto each = [&](auto f) {
      for (size_t i = 0; i < y.v.size(); ++i) y.v[i] = f(static_cast<int64_t>(i));
    };
    auto channel = [&](int64_t i) {
      return static_cast<size_t>(y.dims.size() == 4 ? i / (y.dims[2] * y.dims[3]) % y.dims[1] : i % y.dims[1]);
    };
    const std::vector<double> x = y.v;
    auto at = [&](int64_t i) { return x[static_cast<size_t>(i)]; };
    if (op == "Identity" || op == "Dropout") return y;
    if (op == "Conv")
      return conv(y, in(1), n.input_size() > 2 ? &in(2) : nullptr, ints("pads", {0, 0}), ints("strides", {1, 1}), integer("group", 1));
    if (op == "PRelu") return each([&](int64_t i) { return at(i) > 0 ? at(i) : at(i) * broadcast(in(1), y.dims, i); }), y;
    if (op == "Relu") return each([&](int64_t i) { return std::max(at(i), 0.0); }), y;
    if (op == "Sigmoid") return each([&](int64_t i) { return 1 / (1 + std::exp(-at(i))); }), y;
    if (op == "BatchNormalization") {
      double eps = attrs.count("epsilon") ? attrs["epsilon"]->f() : 1e-5;
      each([&](int64_t i) {
        size_t c = channel(i);
        return (at(i) - in(3).v[c]) / std::sqrt(in(4).v[c] + eps) * in(1).v[c] + in(2).v[c];
      });
      return y;
    }
    if (op == "Flatten" || op == "Reshape") {
      y.dims = {y.dims[0], static_cast<int64_t>(y.v.size()) / y.dims[0]};
      return y;
    }
    if (op == "MatMul") return product(y, in(1), false);
    if (op == "Gemm") {
      y = product(y, in(1), integer("transB", 0));
      for (size_t i = 0; n.input_size() > 2 && i < y.v.size(); ++i) y.v[i] += broadcast(in(2), y.dims, static_cast<int64_t>(i));
      return y;
    }
    if (op == "GlobalAveragePool") {
      int64_t area = y.dims[2] * y.dims[3];
      Array p{{y.dims[0], y.dims[1], 1, 1}, std::vector<double>(static_cast<size_t>(y.dims[0] * y.dims[1]))};
      for (size_t i = 0; i < x.size(); ++i) p.v[i / static_cast<size_t>(area)] += x[i] / static_cast<double>(area);
      return p;
    }
    if (op == "Transpose") {
      auto perm = ints("perm", {});
      for (size_t i = 0; i < 4; ++i) y.dims[i] = in(0).dims[static_cast<size_t>(perm[i])];
      each([&](int64_t i) {
        int64_t index[4], rest = i, from = 0;
        for (size_t k = 4; k-- > 0; rest /= y.dims[k]) index[perm[k]] = rest % y.dims[k];
        for (size_t k = 0; k < 4; ++k) from = from * in(0).dims[k] + index[k];
        return at(from);
      });
      return y;
    }
    if (in(1).v.size() > y.v.size()) y.dims = in(1).dims, y.v.resize(in(1).v.size());
    return each([&](int64_t i) {
             double a = broadcast(in(0), y.dims, i), b = broadcast(in(1), y.dims, i);
             return op == "Add" ? a + b : op == "Sub" ? a - b : op == "Mul" ? a * b : a / b;
           }),
           y;
  }
  std::vector<double> run(const std::string& bytes, const Array& input) {
    onnx::ModelProto model;
    EXPECT_TRUE(model.ParseFromString(bytes));
    for (auto& t : model.graph().initializer()) values[t.name()] = array(io::decode(t, ""));
    values[model.graph().input(0).name()] = input;
    for (auto& n : model.graph().node()) values[n.output(0)] = eval(n);
    return values.at(model.graph().output(0).name()).v;
  }
};

Tensor random_images(const Shape& nhwc) {
  Philox rng(11);
  Tensor t = Tensor::zeros(nhwc);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(rng.normal());
  return t;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5 * (1 + std::abs(want[i]))) << what << " " << i;
}

// Import, run with batch 2, compare with the reference; export, import again: same bits; reference on the exported file, too.
Model check_file(const std::string& bytes) {
  Model m = io::parse_onnx(bytes, "made.onnx");
  Shape in = m.graph.values[static_cast<size_t>(m.graph.inputs[0])].meta.shape;
  in[0] = 2;
  Tensor x = random_images(in), nchw = in.rank() == 4 ? transpose(x, {0, 3, 1, 2}) : x;
  Tensor y = run(m.graph, m.tensors, {x})[0];
  if (y.shape().rank() == 4) y = transpose(y, {0, 3, 1, 2});
  expect_near(y.values<double>(), Reference().run(bytes, Reference::array(nchw)), "import");

  TemporaryFile file("export.onnx"), again("again.onnx");
  io::export_onnx(file.path, m);
  Model back = io::import_onnx(file.path);
  Tensor z = run(back.graph, back.tensors, {x})[0];
  if (z.shape().rank() == 4) z = transpose(z, {0, 3, 1, 2});
  EXPECT_EQ(str(z.meta()), str(y.meta()));
  EXPECT_EQ(z.values<double>(), y.values<double>());
  expect_near(y.values<double>(), Reference().run(read_file(file.path), Reference::array(nchw)), "export");
  io::export_onnx(again.path, m);
  EXPECT_EQ(read_file(again.path), read_file(file.path));
  return m;
}

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
