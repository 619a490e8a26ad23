// Shared by the tests of ONNX import and export: model files built node by node, and an evaluator of such files in plain loops.
#pragma once
#include <gtest/gtest.h>
#include <algorithm>

#include <cmath>
#include <map>

#include "engine/core/rng.h"
#include "engine/ops.h"
#include "nn/io/bytes.h"
#include "nn/io/onnx.h"
#include "nn/io/onnx.pb.h"
#include "nn/io/onnx_tensor.h"
#include "tests/unit/io_testing.h"

namespace vitrine {

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
  // Further outputs of the node added last.
  std::string output(const std::string& name) {
    graph().mutable_node(graph().node_size() - 1)->add_output(name);
    return name;
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
  static Array max_pool(const Array& x, const std::vector<int64_t>& kernel, const std::vector<int64_t>& pad,
                        const std::vector<int64_t>& stride) {
    Array y{
        {x.dims[0], x.dims[1], (x.dims[2] + 2 * pad[0] - kernel[0]) / stride[0] + 1, (x.dims[3] + 2 * pad[1] - kernel[1]) / stride[1] + 1},
        {}};
    for (int64_t i = 0; i < y.dims[0] * y.dims[1] * y.dims[2] * y.dims[3]; ++i) {
      double best = -INFINITY;
      for (int64_t k = 0; k < kernel[0] * kernel[1]; ++k) {
        int64_t px = i % y.dims[3] * stride[1] + k % kernel[1] - pad[1],
                py = i / y.dims[3] % y.dims[2] * stride[0] + k / kernel[1] - pad[0];
        if (px < 0 || py < 0 || px >= x.dims[3] || py >= x.dims[2]) continue;
        best = std::max(best, x.v[static_cast<size_t>((i / y.dims[3] / y.dims[2] * x.dims[2] + py) * x.dims[3] + px)]);
      }
      y.v.push_back(best);
    }
    return y;
  }
  // [begin, end) of an axis; the parts of all axes before it one after the other.
  static Array part(const Array& x, int64_t axis, int64_t begin, int64_t end) {
    Array y{x.dims, {}};
    const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(x.dims.size()) : axis);
    int64_t inner = 1, extent = x.dims[a];
    for (size_t k = a + 1; k < x.dims.size(); ++k) inner *= x.dims[k];
    y.dims[a] = end - begin;
    for (int64_t i = 0; i < static_cast<int64_t>(x.v.size()); ++i)
      if (int64_t at = i / inner % extent; at >= begin && at < end) y.v.push_back(x.v[static_cast<size_t>(i)]);
    return y;
  }
  static Array joined(const std::vector<Array>& parts, int64_t axis) {
    Array y{parts[0].dims, {}};
    const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(y.dims.size()) : axis);
    int64_t outer = 1;
    for (size_t k = 0; k < a; ++k) outer *= y.dims[k];
    y.dims[a] = 0;
    for (auto& p : parts) y.dims[a] += p.dims[a];
    for (int64_t o = 0; o < outer; ++o)
      for (auto& p : parts) {
        const auto width = static_cast<std::ptrdiff_t>(p.v.size()) / outer;
        y.v.insert(y.v.end(), p.v.begin() + o * width, p.v.begin() + (o + 1) * width);
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
    if (op == "MaxPool") return max_pool(y, ints("kernel_shape", {}), ints("pads", {0, 0}), ints("strides", {1, 1}));
    if (op == "Concat") {
      std::vector<Array> parts;
      for (int i = 0; i < n.input_size(); ++i) parts.push_back(in(i));
      return joined(parts, integer("axis", 1));
    }
    if (op == "Slice") {  // bounds within the axis and ascending
      for (size_t i = 0; i < in(1).v.size(); ++i)
        y = part(y, static_cast<int64_t>(in(3).v[i]), static_cast<int64_t>(in(1).v[i]), static_cast<int64_t>(in(2).v[i]));
      return y;
    }
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
      const auto size = static_cast<int64_t>(y.v.size());
      std::vector<int64_t> to{y.dims[0], -1};
      if (op == "Reshape") to.assign(in(1).v.begin(), in(1).v.end());
      int64_t known = to[0] = y.dims[0];
      for (size_t i = 1; i < to.size(); ++i) known *= to[i] == -1 ? 1 : to[i];
      for (int64_t& extent : to) extent = extent == -1 ? size / known : extent;
      y.dims = to;
      return y;
    }
    if (op == "MatMul") return product(y, in(1), false);
    if (op == "Gemm") {
      y = product(y, in(1), integer("transB", 0));
      for (size_t i = 0; n.input_size() > 2 && i < y.v.size(); ++i) y.v[i] += broadcast(in(2), y.dims, static_cast<int64_t>(i));
      return y;
    }
    if (op == "GlobalAveragePool" || op == "ReduceMean") {
      int64_t area = y.dims[2] * y.dims[3];
      Array p{{y.dims[0], y.dims[1], 1, 1}, std::vector<double>(static_cast<size_t>(y.dims[0] * y.dims[1]))};
      for (size_t i = 0; i < x.size(); ++i) p.v[i / static_cast<size_t>(area)] += x[i] / static_cast<double>(area);
      return p;
    }
    if (op == "Transpose") {
      auto perm = ints("perm", {});
      for (size_t i = 0; i < perm.size(); ++i) y.dims[i] = in(0).dims[static_cast<size_t>(perm[i])];
      each([&](int64_t i) {
        int64_t index[5], rest = i, from = 0;
        for (size_t k = perm.size(); k-- > 0; rest /= y.dims[k]) index[perm[k]] = rest % y.dims[k];
        for (size_t k = 0; k < perm.size(); ++k) from = from * in(0).dims[k] + index[k];
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
  void split(const onnx::NodeProto& n) {  // by sizes, as an attribute or an input
    std::vector<double> sizes;
    int64_t axis = 0, begin = 0;
    if (n.input_size() > 1) sizes = values.at(n.input(1)).v;
    for (auto& a : n.attribute()) a.name() == "axis" ? void(axis = a.i()) : sizes.assign(a.ints().begin(), a.ints().end());
    for (int i = 0; i < n.output_size(); ++i, begin += static_cast<int64_t>(sizes[static_cast<size_t>(i - 1)]))
      values[n.output(i)] = part(values.at(n.input(0)), axis, begin, begin + static_cast<int64_t>(sizes[static_cast<size_t>(i)]));
  }
  std::vector<double> run(const std::string& bytes, const Array& input) {
    onnx::ModelProto model;
    EXPECT_TRUE(model.ParseFromString(bytes));
    for (auto& t : model.graph().initializer()) values[t.name()] = array(io::decode(t, ""));
    values[model.graph().input(0).name()] = input;
    for (auto& n : model.graph().node()) n.op_type() == "Split" ? split(n) : void(values[n.output(0)] = eval(n));
    return values.at(model.graph().output(0).name()).v;
  }
};

inline Tensor random_images(const Shape& nhwc) {
  Philox rng(11);
  Tensor t = Tensor::zeros(nhwc);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(rng.normal());
  return t;
}

inline void expect_near(const std::vector<double>& got, const std::vector<double>& want, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5 * (1 + std::abs(want[i]))) << what << " " << i;
}

// Import, run with batch 2, compare with the reference; export, import again: same bits; reference on the exported file, too.
inline Model check_file(const std::string& bytes) {
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

}  // namespace vitrine
