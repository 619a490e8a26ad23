#include <charconv>
#include <climits>
#include <filesystem>
#include <map>
#include <set>

#include "engine/ops.h"
#include "engine/ops/batch_norm.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/reduce.h"
#include "nn/io/bytes.h"
#include "nn/io/onnx.h"
#include "nn/io/onnx_tensor.h"

namespace vitrine::io {
namespace {

// Far above every real network, and low enough that no product of extents overflows and no hostile file makes us busy for long.
constexpr int64_t kMaxExtent = 1 << 14;  // of input images, padding, stride, dilation
constexpr int64_t kMaxBatch = 1024;
constexpr int64_t kMaxGroups = 1 << 20;
constexpr int kMaxNodes = 1 << 16;
constexpr double kMaxElements = 0x1p33;  // of one value
constexpr int64_t kMaxSharing = 8;       // parameters together, in sizes of the file (initialisers may be used more than once)

// What a name in the ONNX graph stands for: a constant of the file, or a value of our graph. A flattened image is kept as the image for
// as long as possible: a matrix product can take its columns in our order (H,W,C), everybody else needs them in ONNX's (C,H,W).
struct Operand {
  const onnx::TensorProto* constant = nullptr;
  Id id = -1;
  bool flat = false;  // `id` is the image, the operand is [N, C*H*W]
};

class Importer {
 public:
  Importer(const onnx::ModelProto& proto, const std::string& file, size_t file_size)
      : proto_(proto), graph_(proto.graph()), file_(file), budget_(kMaxSharing * static_cast<int64_t>(file_size)) {}

  Model run() {
    check_version();
    for (const auto& t : graph_.initializer()) define(t.name(), {.constant = &t});
    add_input();
    CHECK(graph_.node_size() <= kMaxNodes, file_, ": ", graph_.node_size(), " nodes, expected at most ", kMaxNodes);
    for (int i = 0; i < graph_.node_size(); ++i) {
      node_ = &graph_.node(i);
      where_ = cat(file_, ": node ", i, " '", brief(node_->name()), "' (", brief(node_->op_type()), "): ");
      import_node();
    }
    for (const auto& output : graph_.output()) {
      where_ = cat(file_, ": output '", brief(output.name()), "': ");
      out_.graph.outputs.push_back(value(lookup(output.name())));
    }
    CHECK(!out_.graph.outputs.empty(), file_, ": the graph has no output");
    if (proto_.producer_name() == kProducer)  // our own files carry model.info
      for (const auto& entry : proto_.metadata_props()) out_.info[entry.key()] = entry.value();
    out_.info["source"] = std::filesystem::path(file_).filename().string();
    check(out_);
    return std::move(out_);
  }

 private:
  using Rule = void (Importer::*)();
  static const std::map<std::string, Rule>& rules();

  template <class... Args>
  [[noreturn]] void fail(const Args&... args) const {
    throw Error(cat(where_, args...));
  }

  // --- the frame: versions, inputs, nodes ---------------------------------------------------------------------------------------
  void check_version() {
    int64_t opset = 0;
    for (const auto& o : proto_.opset_import())
      if (o.domain().empty() || o.domain() == "ai.onnx") opset = o.version();
    CHECK(opset >= 7, file_, ": opset ", opset, ", expected 7 or newer (or this is not an ONNX model)");
  }

  void add_input() {
    const onnx::ValueInfoProto* input = nullptr;
    for (const auto& i : graph_.input()) {
      if (names_.count(i.name())) continue;  // before IR 4 initialisers were inputs, too
      CHECK(!input, file_, ": more than one input: '", brief(input->name()), "' and '", brief(i.name()), "'");
      input = &i;
    }
    CHECK(input, file_, ": the graph has no input");
    where_ = cat(file_, ": input '", brief(input->name()), "': ");
    const auto& type = input->type().tensor_type();
    if (type.elem_type() != onnx::TensorProto::FLOAT) fail("element type ", type.elem_type(), ", expected 1 (float)");
    std::vector<int64_t> dims;
    for (const auto& d : type.shape().dim()) {
      bool batch = dims.empty();
      int64_t extent = batch && d.dim_value() < 1 ? 1 : d.dim_value();
      if (extent < 1 || extent > (batch ? kMaxBatch : kMaxExtent))
        fail("extent ", extent, " of axis ", dims.size(), ", expected a fixed size");
      dims.push_back(extent);
    }
    if (dims.size() != 4 && dims.size() != 2) fail("shape ", brief(list(dims)), ", expected N,C,H,W or N,C");
    Shape shape = dims.size() == 4 ? Shape{dims[0], dims[2], dims[3], dims[1]} : Shape(dims);
    define(input->name(), {.id = out_.graph.add_value(Value::Kind::input, unique(input->name()), {shape})});
  }

  void import_node() {
    auto rule = rules().find(node_->op_type());
    if (rule == rules().end() || !(node_->domain().empty() || node_->domain() == "ai.onnx")) {
      std::string known;
      for (const auto& [name, r] : rules()) known += " " + name;
      fail("operator is not supported, expected one of", known);
    }
    attributes_.clear();
    for (const auto& a : node_->attribute()) attributes_[a.name()] = &a;
    if (node_->output_size() < 1) fail("has no output");
    (this->*rule->second)();
  }

  // --- names and operands ----------------------------------------------------------------------------------------------------------
  void define(const std::string& name, Operand o) {
    CHECK(!name.empty() && names_.emplace(name, o).second, where_.empty() ? file_ + ": " : where_, "name '", brief(name),
          "' is empty or taken");
  }
  Operand& lookup(const std::string& name) {
    auto it = names_.find(name);
    if (it == names_.end()) fail("'", brief(name), "' is not known here");
    return it->second;
  }
  bool has_input(int i) const { return i < node_->input_size() && !node_->input(i).empty(); }
  Operand& input(int i) {
    if (!has_input(i)) fail("expected an input ", i);
    return lookup(node_->input(i));
  }
  void result(Operand o) { define(node_->output(0), o); }
  void result(Id id) { result(Operand{.id = id}); }

  // The operand as a value of our graph in ONNX's order of columns; a flattened image pays a transpose, once.
  Id value(Operand& o) {
    if (o.constant) fail("expected a computed value, found a constant");
    if (o.flat) {
      o.id = emit("reshape", shape_attrs({0, -1}), {emit("transpose", shape_attrs(kToNchw), {o.id})});
      o.flat = false;
    }
    return o.id;
  }
  const Shape& shape(Id id) const { return out_.graph.values[static_cast<size_t>(id)].meta.shape; }
  std::vector<int64_t> onnx_shape(const Operand& o) const {
    const Shape& s = shape(o.id);
    if (o.flat) return {s[0], s.product(1, s.rank())};
    if (s.rank() == 4) return {s[0], s[3], s[1], s[2]};
    return {s.begin(), s.end()};
  }

  Tensor constant(int i) {
    const Operand& o = input(i);
    if (!o.constant) fail("expected input ", i, " to be a constant");
    return decode(*o.constant, cat(where_, "input ", i, ": "));
  }
  Tensor weights(int i) {
    Tensor t = constant(i).to(Dtype::f32);
    if (t.numel() == 0) fail("input ", i, " is empty");
    return t;
  }

  // --- attributes -----------------------------------------------------------------------------------------------------------------
  const onnx::AttributeProto* attribute(const char* name) const {
    auto it = attributes_.find(name);
    return it == attributes_.end() ? nullptr : it->second;
  }
  int64_t integer(const char* name, int64_t otherwise) const {
    auto* a = attribute(name);
    return a ? a->i() : otherwise;
  }
  float real(const char* name, float otherwise) const {
    auto* a = attribute(name);
    return a ? a->f() : otherwise;
  }
  std::vector<int64_t> integers(const char* name, std::vector<int64_t> otherwise, int64_t low, int64_t high) const {
    auto* a = attribute(name);
    if (!a) return otherwise;
    bool valid = a->ints_size() == static_cast<int>(otherwise.size());
    for (int64_t v : a->ints()) valid &= v >= low && v <= high;
    if (!valid) fail("attribute ", name, ": expected ", otherwise.size(), " integers from ", low, " to ", high);
    return {a->ints().begin(), a->ints().end()};
  }

  // --- building our graph ---------------------------------------------------------------------------------------------------------
  static AttrsPtr shape_attrs(const Shape& s) {
    auto a = std::make_shared<ShapeAttrs>();
    a->shape = s;
    return a;
  }
  Id emit(const char* op, AttrsPtr attrs, const std::vector<Id>& in) {
    Id id;
    try {
      id = out_.graph.add_node(op_named(op), std::move(attrs), in)[0];
    } catch (const Error& e) {
      fail(e.what());
    }
    double elements = 1;
    for (int64_t extent : shape(id)) elements *= static_cast<double>(extent);
    if (elements > kMaxElements) fail("a result of shape ", shape(id), " is too large");
    return id;
  }
  std::string unique(const std::string& wanted) {
    std::string base = wanted.substr(0, 200);
    for (char& c : base)
      if (c <= ' ' || c > '~' || c == '%' || c == '=') c = '_';
    std::string name = base;
    for (int& n = used_[base]; !taken_.insert(name).second;) name = cat(base, ".", ++n);
    return name;
  }
  // Named after the initialiser at input i of the node.
  Id parameter(int i, const Tensor& t, Value::Kind kind = Value::Kind::parameter) {
    budget_ -= t.meta().nbytes();
    if (budget_ < 0) fail("the parameters are over ", kMaxSharing, " times larger than the file");
    std::string name = unique(node_->input(i));
    out_.tensors[name] = t;
    return out_.graph.add_value(kind, name, t.meta());
  }
  Id channels(int i, int64_t count, Value::Kind kind = Value::Kind::parameter) {
    Tensor t = weights(i);
    if (t.numel() != count) fail("input ", i, " is ", t.shape(), ", expected one number for each of ", count, " channels");
    return parameter(i, t.view({count}), kind);
  }

  // --- one function per operator ------------------------------------------------------------------------------------------------------
  void conv() {
    if (auto* a = attribute("auto_pad"); a && a->s() != "NOTSET" && a->s() != "VALID")
      fail("auto_pad ", brief(a->s()), ", expected NOTSET");
    Id x = value(input(0));
    Tensor w = weights(1);
    if (w.shape().rank() != 4) fail("weights ", w.shape(), ", expected O,I,kh,kw");
    auto strides = integers("strides", {1, 1}, 1, kMaxExtent), dilations = integers("dilations", {1, 1}, 1, kMaxExtent);
    auto pads = integers("pads", {0, 0, 0, 0}, 0, kMaxExtent);
    if (pads[0] != pads[2] || pads[1] != pads[3]) fail("pads ", list(pads), ", expected the same on opposite sides");
    auto a = std::make_shared<Conv2dAttrs>();
    a->stride_h = strides[0], a->stride_w = strides[1], a->dilation_h = dilations[0], a->dilation_w = dilations[1];
    a->pad_h = pads[0], a->pad_w = pads[1];
    a->groups = integer("group", 1);
    if (a->groups < 1 || a->groups > kMaxGroups) fail("group ", a->groups, ", expected 1 to ", kMaxGroups);
    Id y = emit("conv2d", a, {x, parameter(1, transpose(w, kToNhwc))});
    result(has_input(2) ? emit("add", nullptr, {y, channels(2, shape(y).back())}) : y);
  }

  void batch_norm() {
    if (integer("training_mode", 0)) fail("training_mode 1, expected an exported inference model");
    Id x = value(input(0));
    int64_t c = shape(x).back();
    auto a = std::make_shared<BatchNormAttrs>();
    a->eps = shortest(real("epsilon", 1e-5f));
    if (!(a->eps >= 0 && a->eps < 1)) fail("epsilon ", a->eps, ", expected a small positive number");
    Id gamma = channels(1, c), beta = channels(2, c), mean = channels(3, c, Value::Kind::buffer), var = channels(4, c, Value::Kind::buffer);
    result(emit("batch_norm", a, {x, gamma, beta, mean, var}));
  }
  // 1e-5f means 1e-5: the double of the fewest digits that is this float.
  static double shortest(float v) {
    char text[32];
    double wide = v;
    std::from_chars(text, std::to_chars(text, text + sizeof text, v).ptr, wide);
    return wide;
  }

  void prelu() {
    Id x = value(input(0));
    int64_t c = shape(x).back();
    Tensor slope = weights(1);
    if (slope.numel() == 1) slope = Tensor::full({c}, slope.item<double>());
    if (slope.numel() != c) fail("slope ", slope.shape(), ", expected one number for each of ", c, " channels");
    result(emit("prelu", nullptr, {x, parameter(1, slope.view({c}))}));
  }

  void add() { binary("add"); }
  void sub() { binary("sub"); }
  void mul() { binary("mul"); }
  void div() { binary("div"); }
  void binary(const char* op) {
    Id in[2];
    for (int i : {0, 1}) in[i] = input(i).constant ? -1 : value(input(i));
    if (in[0] < 0 && in[1] < 0) fail("both inputs are constants");
    for (int i : {0, 1})
      if (in[i] < 0) in[i] = parameter(i, broadcastable(i, shape(in[1 - i])));
    const Shape &a = shape(in[0]), &b = shape(in[1]);
    // Between computed values: the same shape, or one number per image and channel (squeeze and excitation).
    auto per_channel = [](const Shape& s, const Shape& image) { return s == Shape{image[0], 1, 1, image.back()} && image.rank() == 4; };
    bool computed = !input(0).constant && !input(1).constant;
    if (computed && !(a == b || per_channel(a, b) || per_channel(b, a))) fail("shapes ", a, " and ", b, " are not supported together");
    result(emit(op, nullptr, {in[0], in[1]}));
  }
  // Constant i, aligned as numpy does with a value of our shape `to`, in our axis order, leading ones removed.
  Tensor broadcastable(int i, const Shape& to) {
    Tensor t = weights(i);
    if (t.numel() == 1) return t.view({1});
    Shape aligned;
    for (int k = t.shape().rank(); k < to.rank(); ++k) aligned.push_back(1);
    for (int64_t extent : t.shape()) aligned.push_back(extent);
    if (aligned.rank() != to.rank()) fail("input ", i, " is ", t.shape(), ", expected rank ", to.rank(), " at most");
    t = t.view(aligned);
    if (to.rank() == 4) t = transpose(t, kToNhwc);
    for (int k = 0; k < to.rank(); ++k)
      if (t.shape()[k] != 1 && t.shape()[k] != to[k]) fail("input ", i, " does not broadcast to the other input");
    int first = 0;
    while (t.shape()[first] == 1) ++first;
    return t.view(Shape(t.shape().begin() + first, t.shape().end()));
  }

  void gemm() {
    if (real("alpha", 1) != 1 || real("beta", 1) != 1 || integer("transA", 0) != 0) fail("expected alpha 1, beta 1, transA 0");
    Id y = product(integer("transB", 0) != 0);
    result(has_input(2) ? emit("add", nullptr, {y, gemm_bias(shape(y).back())}) : y);
  }
  Id gemm_bias(int64_t outputs) {
    Tensor t = weights(2);
    return t.numel() == 1 ? parameter(2, t.view({1})) : channels(2, outputs);
  }
  void matmul() { result(product(false)); }
  // Weights are kept as O,I (b transposed), columns in the order of our flattened images.
  Id product(bool transposed) {
    Operand& x = input(0);
    if (x.constant || onnx_shape(x).size() != 2) fail("expected input 0 to be a computed matrix");
    Tensor w = weights(1);
    if (w.shape().rank() != 2) fail("weights ", w.shape(), ", expected a matrix");
    if (!transposed) w = transpose(w, {1, 0});
    int64_t columns = onnx_shape(x)[1];
    if (w.shape()[1] != columns) fail("weights ", w.shape(), ", expected ", columns, " inputs");
    Id in = x.id;
    if (x.flat) {
      Shape s = shape(x.id);
      w = transpose(w.view({w.shape()[0], s[3], s[1], s[2]}), kToNhwc).view(w.shape());
      in = emit("reshape", shape_attrs({0, -1}), {x.id});
    }
    auto a = std::make_shared<MatmulAttrs>();
    a->tb = 1;
    return emit("matmul", a, {in, parameter(1, w)});
  }

  void flatten_node() {
    if (integer("axis", 1) != 1) fail("axis ", integer("axis", 1), ", expected 1");
    flatten(input(0));
  }
  void flatten(const Operand& o) {
    if (o.constant) fail("expected a computed value, found a constant");
    const Shape& s = shape(o.id);
    if (o.flat || s.rank() == 2)
      result(o);
    else if (s[1] * s[2] == 1)
      result(emit("reshape", shape_attrs({0, -1}), {o.id}));
    else
      result(Operand{.id = o.id, .flat = true});
  }
  void reshape() {
    const Operand& x = input(0);
    if (x.constant) fail("expected a computed value, found a constant");
    const onnx::TensorProto* target = input(1).constant;
    if (!target || target->data_type() != onnx::TensorProto::INT64) fail("expected the shape to be a constant list of int64");
    std::vector<int64_t> from = onnx_shape(x), to = decode(*target, where_).values<int64_t>();
    int64_t columns = 1;
    for (size_t i = 1; i < from.size(); ++i) columns *= from[i];
    bool batch = !to.empty() && (to[0] == 0 || to[0] == from[0] || to[0] == -1);
    bool rest = to.size() == 2 && (to[1] == columns || (to[1] == -1 && to[0] != -1) || (to[1] == 0 && from.size() == 2));
    if (to == from)
      result(x);
    else if (batch && rest)
      flatten(x);
    else
      fail("from ", list(from), " to ", brief(list(to)), ", expected [N,-1]");
  }

  // Ours is ONNX's seen through the two layouts: NHWC -> NCHW, perm, NCHW -> NHWC.
  void transpose_node() {
    Id x = value(input(0));
    if (shape(x).rank() != 4) fail("expected an image");
    auto perm = integers("perm", {3, 2, 1, 0}, 0, 3);
    Shape order;
    for (int64_t axis : kToNhwc) order.push_back(kToNchw[static_cast<int>(perm[static_cast<size_t>(axis)])]);
    if (order[0] != 0) fail("perm ", list(perm), ", expected the batch to stay first");
    result(emit("transpose", shape_attrs(order), {x}));
  }

  void global_average_pool() {
    Id x = value(input(0));
    if (shape(x).rank() != 4) fail("expected an image");
    auto reduce = std::make_shared<ReduceAttrs>();
    reduce->first = 1, reduce->count = 2, reduce->keep = 1;
    auto scale = std::make_shared<ScalarAttrs>();
    scale->a = 1.0 / static_cast<double>(shape(x)[1] * shape(x)[2]);
    result(emit("mul_scalar", scale, {emit("sum", reduce, {x})}));
  }

  void relu() { result(emit("relu", nullptr, {value(input(0))})); }
  void sigmoid() { result(emit("sigmoid", nullptr, {value(input(0))})); }
  void identity() { result(Operand(input(0))); }
  void constant_node() {
    auto* a = attribute("value");
    if (!a || !a->has_t()) fail("expected an attribute 'value' with a tensor");
    result(Operand{.constant = &a->t()});
  }

  const onnx::ModelProto& proto_;
  const onnx::GraphProto& graph_;
  const std::string& file_;
  int64_t budget_;  // bytes of parameters still allowed
  Model out_;
  std::map<std::string, Operand> names_;
  std::map<std::string, int> used_;
  std::set<std::string> taken_;
  std::string where_;
  const onnx::NodeProto* node_ = nullptr;
  std::map<std::string, const onnx::AttributeProto*> attributes_;
};

const std::map<std::string, Importer::Rule>& Importer::rules() {
  static const std::map<std::string, Rule> table = {
      {"Add", &Importer::add},
      {"BatchNormalization", &Importer::batch_norm},
      {"Constant", &Importer::constant_node},
      {"Conv", &Importer::conv},
      {"Div", &Importer::div},
      {"Dropout", &Importer::identity},
      {"Flatten", &Importer::flatten_node},
      {"Gemm", &Importer::gemm},
      {"GlobalAveragePool", &Importer::global_average_pool},
      {"Identity", &Importer::identity},
      {"MatMul", &Importer::matmul},
      {"Mul", &Importer::mul},
      {"PRelu", &Importer::prelu},
      {"Relu", &Importer::relu},
      {"Reshape", &Importer::reshape},
      {"Sigmoid", &Importer::sigmoid},
      {"Sub", &Importer::sub},
      {"Transpose", &Importer::transpose_node},
  };
  return table;
}

}  // namespace

Model parse_onnx(std::string_view bytes, const std::string& file) {
  CHECK(bytes.size() <= INT_MAX, file, ": ", bytes.size(), " bytes, expected at most 2 GB");
  onnx::ModelProto proto;
  CHECK(proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())), file, ": not a protobuf message, expected an ONNX model");
  NoGrad quiet;
  return Importer(proto, file, bytes.size()).run();
}

Model import_onnx(const std::string& path) { return parse_onnx(load_bytes(path), path); }

}  // namespace vitrine::io
