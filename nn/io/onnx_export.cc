#include <algorithm>
#include <climits>
#include <map>
#include <set>

#include "engine/ops.h"
#include "engine/ops/batch_norm.h"
#include "engine/ops/concat.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/reduce.h"
#include "nn/io/bytes.h"
#include "nn/io/onnx.h"
#include "nn/io/onnx_tensor.h"

namespace vitrine::io {
namespace {

constexpr int kIrVersion = 6, kOpset = 11;

class Exporter {
 public:
  explicit Exporter(const Model& model) : model_(model), g_(model.graph), uses_(g_.values.size()), merged_(g_.nodes.size()) {}

  onnx::ModelProto run() {
    CHECK(g_.inputs.size() == 1, "onnx: the graph has ", g_.inputs.size(), " inputs, expected 1");
    for (const GraphNode& n : g_.nodes)
      for (Id id : n.in) ++uses_[index(id)];
    for (Id id : g_.outputs) ++uses_[index(id)];
    proto_.set_ir_version(kIrVersion);
    proto_.set_producer_name(kProducer);
    auto* opset = proto_.add_opset_import();
    opset->set_domain("");
    opset->set_version(kOpset);
    out_ = proto_.mutable_graph();
    out_->set_name("vitrine");
    names_[g_.inputs[0]] = unique("data");
    describe("data", meta(g_.inputs[0]), out_->add_input());
    for (at_ = 0; at_ < g_.nodes.size(); ++at_)
      if (!merged_[at_]) export_node(g_.nodes[at_]);
    for (Id id : g_.outputs) describe(computed(id), meta(id), out_->add_output());
    for (const auto& [key, value] : model_.info) {
      auto* entry = proto_.add_metadata_props();
      entry->set_key(key);
      entry->set_value(value);
    }
    return std::move(proto_);
  }

 private:
  using Rule = void (Exporter::*)(const GraphNode&);
  static const std::map<std::string, Rule>& rules();

  static size_t index(Id id) { return static_cast<size_t>(id); }
  const Meta& meta(Id id) const { return g_.values[index(id)].meta; }
  const Shape& shape(Id id) const { return meta(id).shape; }
  bool named(Id id) const {
    return g_.values[index(id)].kind == Value::Kind::parameter || g_.values[index(id)].kind == Value::Kind::buffer;
  }

  void export_node(const GraphNode& n) {
    auto rule = rules().find(n.op->name);
    CHECK(rule != rules().end(), "onnx: node ", at_, ": operator ", n.op->name, " has no ONNX form, expected a float model");
    (this->*rule->second)(n);
  }

  // --- writing --------------------------------------------------------------------------------------------------------------------
  // Shapes in ONNX's order; the batch is symbolic.
  static void describe(const std::string& name, const Meta& m, onnx::ValueInfoProto* info) {
    CHECK(m.dtype == Dtype::f32 && (m.shape.rank() == 2 || m.shape.rank() == 4), "onnx: '", name, "' is ", str(m),
          ", expected f32 N,H,W,C or N,C");
    info->set_name(name);
    auto* type = info->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    for (int i = 0; i < m.shape.rank(); ++i) {
      auto* dim = type->mutable_shape()->add_dim();
      if (i == 0)
        dim->set_dim_param("N");
      else
        dim->set_dim_value(m.shape[m.shape.rank() == 4 ? static_cast<int>(kToNchw[i]) : i]);
    }
  }

  onnx::NodeProto* node(const char* op, const std::vector<std::string>& in, const std::string& out) {
    auto* n = out_->add_node();
    n->set_op_type(op);
    n->set_name(cat(op, "_", out_->node_size() - 1));
    for (const auto& name : in) n->add_input(name);
    n->add_output(out);
    return n;
  }
  static onnx::AttributeProto* attribute(onnx::NodeProto* n, const char* name, onnx::AttributeProto::Type type) {
    auto* a = n->add_attribute();
    a->set_name(name);
    a->set_type(type);
    return a;
  }
  static void set(onnx::NodeProto* n, const char* name, int64_t v) { attribute(n, name, onnx::AttributeProto::INT)->set_i(v); }
  static void set(onnx::NodeProto* n, const char* name, float v) { attribute(n, name, onnx::AttributeProto::FLOAT)->set_f(v); }
  static void set(onnx::NodeProto* n, const char* name, const std::vector<int64_t>& list) {
    auto* a = attribute(n, name, onnx::AttributeProto::INTS);
    for (int64_t v : list) a->add_ints(v);
  }

  // --- names ----------------------------------------------------------------------------------------------------------------------
  std::string unique(const std::string& base) {
    std::string name = base;
    for (int n = 1; !taken_.insert(name).second; ++n) name = cat(base, ".", n);
    return name;
  }
  std::string fresh(Id id) {  // for a computed value
    bool is_output = std::find(g_.outputs.begin(), g_.outputs.end(), id) != g_.outputs.end();
    return names_[id] = unique(is_output ? "output" : cat("v", id));
  }
  // A computed value in ONNX's order. A flattened image is flattened here in our order, for whoever cannot permute its own columns.
  std::string computed(Id id) {
    if (auto image = flat_.find(id); image != flat_.end()) {
      std::string nhwc = unique(names_[id] + ".nhwc");
      set(node("Transpose", {names_[image->second]}, nhwc), "perm", {0, 2, 3, 1});
      set(node("Flatten", {nhwc}, names_[id]), "axis", int64_t{1});
      flat_.erase(image);
    }
    auto it = names_.find(id);
    CHECK(it != names_.end(), "onnx: node ", at_, ": expected a computed value, found ", g_.values[index(id)].name);
    return it->second;
  }
  // Parameter or buffer `id` as an initialiser of its name, in the order that the caller has brought it to. Used in two different orders it
  // becomes two initialisers.
  std::string initializer(Id id, const Tensor& t) {
    auto& forms = initializers_[id];
    for (const auto& [form, name] : forms)
      if (form.meta() == t.meta() && bytes_of(form) == bytes_of(t)) return name;
    forms.emplace_back(t, unique(g_.values[index(id)].name));
    encode(t, forms.back().second, out_->add_initializer());
    return forms.back().second;
  }
  Tensor tensor(Id id) const {
    CHECK(named(id), "onnx: node ", at_, ": expected a parameter or buffer, found a computed value");
    return model_.tensors.at(g_.values[index(id)].name).to(Device::cpu);
  }
  std::string plain(Id id) { return initializer(id, tensor(id)); }

  // The vector that an add directly after node at_ adds to its only use, if it is one number per output channel: a bias. The add is
  // then done with, and its output is the node's. -1 if there is none.
  Id merge_bias(Id* out) {
    if (uses_[index(*out)] != 1 || at_ + 1 >= g_.nodes.size()) return -1;
    const GraphNode& next = g_.nodes[at_ + 1];
    if (!is(next, "add")) return -1;
    Id bias = next.in[0] == *out ? next.in[1] : next.in[1] == *out ? next.in[0] : -1;
    if (bias < 0 || !named(bias) || shape(bias) != Shape{shape(*out).back()}) return -1;
    merged_[at_ + 1] = true;
    *out = next.out[0];
    return bias;
  }

  // --- one function per operator ----------------------------------------------------------------------------------------------------
  void conv2d(const GraphNode& n) {
    auto& a = static_cast<Conv2dAttrs&>(*n.attrs);
    Id out = n.out[0], bias = merge_bias(&out);
    const Shape& w = shape(n.in[1]);
    std::vector<std::string> in = {computed(n.in[0]), initializer(n.in[1], transpose(tensor(n.in[1]), kToNchw))};
    if (bias >= 0) in.push_back(plain(bias));
    auto* conv = node("Conv", in, fresh(out));
    set(conv, "dilations", {a.dilation_h, a.dilation_w});
    set(conv, "group", a.groups);
    set(conv, "kernel_shape", {w[1], w[2]});
    set(conv, "pads", {a.pad_h, a.pad_w, a.pad_h, a.pad_w});
    set(conv, "strides", {a.stride_h, a.stride_w});
  }

  void matmul(const GraphNode& n) {
    auto& a = static_cast<MatmulAttrs&>(*n.attrs);
    CHECK(!a.ta, "onnx: node ", at_, ": matmul of a transposed value has no ONNX form here");
    Id out = n.out[0], bias = merge_bias(&out);
    Tensor w = tensor(n.in[1]);
    if (!a.tb) w = transpose(w, {1, 0});
    std::string x;
    if (auto image = flat_.find(n.in[0]); image != flat_.end()) {  // the columns of w from H,W,C to C,H,W
      const Shape& s = shape(image->second);
      w = transpose(w.view({w.shape()[0], s[1], s[2], s[3]}), kToNchw).view(w.shape());
      x = unique(names_[n.in[0]] + ".chw");
      set(node("Flatten", {names_[image->second]}, x), "axis", int64_t{1});
    } else {
      x = computed(n.in[0]);
    }
    std::vector<std::string> in = {x, initializer(n.in[1], w)};
    if (bias >= 0) in.push_back(plain(bias));
    set(node("Gemm", in, fresh(out)), "transB", int64_t{1});
  }

  void reshape(const GraphNode& n) {
    const Shape &from = shape(n.in[0]), &to = shape(n.out[0]);
    if (from.rank() + to.rank() == 9) return regroup(n);
    CHECK(from.rank() >= 2 && to.rank() == 2 && from[0] == to[0], "onnx: node ", at_, ": reshape from ", from, " to ", to,
          ", expected [N,-1]");
    std::string x = computed(n.in[0]), y = fresh(n.out[0]);
    if (from.rank() == 4 && from[1] * from[2] != 1)
      flat_[n.out[0]] = n.in[0];
    else
      set(node("Flatten", {x}, y), "axis", int64_t{1});
  }
  // Channels N,H,W,C seen as groups N,H,W,G,C, or back.
  void regroup(const GraphNode& n) {
    const Shape &from = shape(n.in[0]), &to = shape(n.out[0]);
    CHECK(Shape(from.begin(), from.begin() + 3) == Shape(to.begin(), to.begin() + 3), "onnx: node ", at_, ": reshape from ", from, " to ",
          to, ", expected batch and pixels to stay");
    std::vector<int64_t> target{0};
    target.insert(target.end(), to.begin() + 3, to.end());
    target.insert(target.end(), {to[1], to[2]});
    const std::string x = computed(n.in[0]), name = unique(cat("shape", at_));
    encode(Tensor::from({static_cast<int64_t>(target.size())}, target), name, out_->add_initializer());
    node("Reshape", {x, name}, fresh(n.out[0]));
  }

  void batch_norm(const GraphNode& n) {
    auto* bn =
        node("BatchNormalization", {computed(n.in[0]), plain(n.in[1]), plain(n.in[2]), plain(n.in[3]), plain(n.in[4])}, fresh(n.out[0]));
    set(bn, "epsilon", static_cast<float>(static_cast<BatchNormAttrs&>(*n.attrs).eps));
  }

  void prelu(const GraphNode& n) { node("PRelu", {computed(n.in[0]), aligned(n.in[1], shape(n.in[0]))}, fresh(n.out[0])); }

  void binary(const GraphNode& n) {
    static const std::map<std::string, const char*> words = {{"add", "Add"}, {"sub", "Sub"}, {"mul", "Mul"}, {"div", "Div"}};
    std::vector<std::string> in;
    for (int i : {0, 1}) {
      Id id = n.in[static_cast<size_t>(i)], other = n.in[static_cast<size_t>(1 - i)];
      CHECK(named(id) || shape(id).rank() == shape(n.out[0]).rank(), "onnx: node ", at_, ": ranks of ", shape(id), " and ", shape(other),
            " differ");
      in.push_back(named(id) ? aligned(id, shape(other)) : computed(id));
    }
    node(words.at(n.op->name), in, fresh(n.out[0]));
  }
  // A parameter that broadcasts with a value of our shape `to`: in ONNX's axis order, [C] becomes [C,1,1] beside an image.
  std::string aligned(Id id, const Shape& to) {
    Tensor t = tensor(id);
    CHECK(t.shape().rank() <= to.rank(), "onnx: node ", at_, ": ", t.shape(), " does not broadcast to ", to);
    if (to.rank() != 4 || t.numel() == 1) return initializer(id, t);
    Shape s;
    for (int k = t.shape().rank(); k < 4; ++k) s.push_back(1);
    for (int64_t extent : t.shape()) s.push_back(extent);
    t = transpose(t.view(s), kToNchw);
    return initializer(id, t.shape()[0] == 1 ? t.view({t.shape()[1], t.shape()[2], t.shape()[3]}) : t);
  }

  // Our axis in ONNX's order.
  static int64_t onnx_axis(int64_t axis, const Shape& s) { return s.rank() == 4 ? kToNhwc[static_cast<int>(axis)] : axis; }

  void concat(const GraphNode& n) {
    std::vector<std::string> in;
    for (Id id : n.in) in.push_back(computed(id));
    set(node("Concat", in, fresh(n.out[0])), "axis", onnx_axis(static_cast<ConcatAttrs&>(*n.attrs).axis, shape(n.out[0])));
  }

  void slice(const GraphNode& n) {
    auto& a = static_cast<SliceAttrs&>(*n.attrs);
    std::vector<std::string> in{computed(n.in[0])};
    for (auto [what, v] : {std::pair("begin", a.begin), std::pair("end", a.end), std::pair("axis", onnx_axis(a.axis, shape(n.in[0])))}) {
      in.push_back(unique(cat("slice", at_, ".", what)));
      encode(Tensor::from({1}, std::vector<int64_t>{v}), in.back(), out_->add_initializer());
    }
    node("Slice", in, fresh(n.out[0]));
  }

  void max_pool(const GraphNode& n) {
    auto& a = static_cast<PoolAttrs&>(*n.attrs);
    auto* pool = node("MaxPool", {computed(n.in[0])}, fresh(n.out[0]));
    set(pool, "kernel_shape", {a.kernel_h, a.kernel_w});
    set(pool, "pads", {a.pad_h, a.pad_w, a.pad_h, a.pad_w});
    set(pool, "strides", {a.stride_h, a.stride_w});
  }

  void relu(const GraphNode& n) { node("Relu", {computed(n.in[0])}, fresh(n.out[0])); }
  void sigmoid(const GraphNode& n) { node("Sigmoid", {computed(n.in[0])}, fresh(n.out[0])); }

  // x + a and x * a, the scalar as an initialiser of its own.
  void scalar(const GraphNode& n) {
    std::string name = unique(cat("scalar", at_));
    encode(Tensor::full({1}, static_cast<ScalarAttrs&>(*n.attrs).a), name, out_->add_initializer());
    bool adds = is(n, "add_scalar");
    node(adds ? "Add" : "Mul", {computed(n.in[0]), name}, fresh(n.out[0]));
  }

  // Our transpose seen through the two layouts: NCHW -> NHWC, order, NHWC -> NCHW; or the same of channels in groups.
  void transpose_node(const GraphNode& n) {
    const Shape& order = static_cast<ShapeAttrs&>(*n.attrs).shape;
    const bool grouped = order.rank() == 5;
    CHECK((order.rank() == 4 || grouped) && order[0] == 0, "onnx: node ", at_, ": transpose ", order,
          ", expected an image whose batch stays first");
    std::vector<int64_t> perm;
    for (int64_t axis : grouped ? kGroupedToNhwc : kToNchw)
      perm.push_back((grouped ? kGroupedToNhwc : kToNhwc)[static_cast<int>(order[static_cast<int>(axis)])]);
    set(node("Transpose", {computed(n.in[0])}, fresh(n.out[0])), "perm", perm);
  }

  // The mean of an image, which our graphs hold as a sum and a multiplication.
  void sum(const GraphNode& n) {
    auto& a = static_cast<ReduceAttrs&>(*n.attrs);
    const Shape& image = shape(n.in[0]);
    const GraphNode* next = at_ + 1 < g_.nodes.size() ? &g_.nodes[at_ + 1] : nullptr;
    bool mean = image.rank() == 4 && a.first == 1 && a.count == 2 && uses_[index(n.out[0])] == 1 && next &&
                next->op->name == std::string("mul_scalar") && next->in[0] == n.out[0] &&
                static_cast<ScalarAttrs&>(*next->attrs).a == 1.0 / static_cast<double>(image[1] * image[2]);
    CHECK(mean, "onnx: node ", at_, ": sum, expected the mean over the axes h and w of an image");
    merged_[at_ + 1] = true;
    std::string x = computed(n.in[0]), y = fresh(next->out[0]), pooled = a.keep ? y : unique(y + ".pooled");
    node("GlobalAveragePool", {x}, pooled);
    if (!a.keep) set(node("Flatten", {pooled}, y), "axis", int64_t{1});
  }

  const Model& model_;
  const Graph& g_;
  onnx::ModelProto proto_;
  onnx::GraphProto* out_ = nullptr;
  size_t at_ = 0;             // the node being written
  std::vector<int> uses_;     // of each value
  std::vector<bool> merged_;  // nodes that an earlier one has swallowed
  std::map<Id, std::string> names_;
  std::map<Id, Id> flat_;  // flattened image that nobody has needed as such yet -> the image
  std::map<Id, std::vector<std::pair<Tensor, std::string>>> initializers_;
  std::set<std::string> taken_;  // every name in the ONNX graph
};

const std::map<std::string, Exporter::Rule>& Exporter::rules() {
  static const std::map<std::string, Rule> table = {
      {"add", &Exporter::binary},        {"add_scalar", &Exporter::scalar}, {"batch_norm", &Exporter::batch_norm},
      {"concat", &Exporter::concat},     {"conv2d", &Exporter::conv2d},     {"div", &Exporter::binary},
      {"matmul", &Exporter::matmul},     {"max_pool", &Exporter::max_pool}, {"mul", &Exporter::binary},
      {"mul_scalar", &Exporter::scalar}, {"prelu", &Exporter::prelu},       {"relu", &Exporter::relu},
      {"reshape", &Exporter::reshape},   {"sigmoid", &Exporter::sigmoid},   {"slice", &Exporter::slice},
      {"sub", &Exporter::binary},        {"sum", &Exporter::sum},           {"transpose", &Exporter::transpose_node},
  };
  return table;
}

}  // namespace

void export_onnx(const std::string& path, const Model& model) {
  check(model);
  NoGrad quiet;
  onnx::ModelProto proto = Exporter(model).run();
  CHECK(proto.ByteSizeLong() <= INT_MAX, path, ": ", proto.ByteSizeLong(), " bytes, an ONNX file holds at most 2 GB");
  std::string bytes = proto.SerializeAsString();
  save_bytes(path, [&](std::ostream& out) { out << bytes; });
}

}  // namespace vitrine::io
