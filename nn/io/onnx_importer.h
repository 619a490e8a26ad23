// The walk over an ONNX graph: names, operands, attributes, and our graph as it grows. Internal to nn/io/onnx_import.cc, which has the
// operators.
#pragma once
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "engine/ops/reduce.h"
#include "nn/io/onnx.h"
#include "nn/io/onnx_tensor.h"

namespace vitrine::io {

// Far above every real network, and low enough that no product of extents overflows and no hostile file makes us busy for long.
constexpr int64_t kMaxExtent = 1 << 14;  // of input images, padding, stride, dilation
constexpr int64_t kMaxBatch = 1024;
constexpr int64_t kMaxGroups = 1 << 20;
constexpr int kMaxNodes = 1 << 16;
constexpr double kMaxElements = 0x1p33;  // of one value
constexpr int64_t kMaxSharing = 8;       // parameters together, in sizes of the file and its data (initialisers may be used more than once)

// What a name in the ONNX graph stands for: a constant of the file, or a value of our graph. A flattened image is kept as the image for
// as long as possible: a matrix product can take its columns in our order (H,W,C), everybody else needs them in ONNX's (C,H,W).
struct Operand {
  const onnx::TensorProto* constant = nullptr;
  Id id = -1;
  bool flat = false;  // `id` is the image, the operand is [N, C*H*W]
};

class Importer {
 public:
  Importer(const onnx::ModelProto& proto, const std::string& file, size_t file_size, const std::string& path)
      : proto_(proto), graph_(proto.graph()), file_(file), path_(path), budget_(kMaxSharing * static_cast<int64_t>(file_size)) {}

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
    out_.info.emplace("source", std::filesystem::path(file_).filename().string());  // of a converted one: the original
    const bool raw = normalises_itself();
    out_.info.emplace("mean", raw ? "0" : "127.5");
    out_.info.emplace("std", raw ? "1" : "127.5");
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

  // InsightFace's own rule: an export of MXNet begins with a subtraction and a product, named so, and takes the pixels as they are.
  bool normalises_itself() const {
    const auto begins = [&](std::string_view a, std::string_view b) {
      const auto end = graph_.node().begin() + std::min(graph_.node_size(), 8);
      return std::any_of(graph_.node().begin(), end, [&](auto& n) { return n.name().starts_with(a) || n.name().starts_with(b); });
    };
    return begins("Sub", "_minus") && begins("Mul", "_mul");
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
  void result(Operand o, int i = 0) { define(node_->output(i), o); }
  void result(Id id, int i = 0) { result(Operand{.id = id}, i); }

  // The operand as a value of our graph in ONNX's order of columns; a flattened image pays a transpose, once.
  Id value(Operand& o) {
    if (o.constant) fail("expected a computed value, found a constant");
    if (o.flat) {
      o.id = emit("reshape", shape_attrs({0, -1}), {emit("transpose", shape_attrs(kToNchw), {o.id})});
      o.flat = false;
    }
    if (shape(o.id).rank() == 5) fail("expected an image or a matrix, found channels in groups");
    return o.id;
  }
  const Shape& shape(Id id) const { return out_.graph.values[static_cast<size_t>(id)].meta.shape; }
  std::vector<int64_t> onnx_shape(const Operand& o) const {
    const Shape& s = shape(o.id);
    if (o.flat) return {s[0], s.product(1, s.rank())};
    if (s.rank() == 4) return {s[0], s[3], s[1], s[2]};
    if (s.rank() == 5) return {s[0], s[3], s[4], s[1], s[2]};
    return {s.begin(), s.end()};
  }

  Tensor constant(int i) {
    const Operand& o = input(i);
    if (!o.constant) fail("expected input ", i, " to be a constant");
    const std::string where = cat(where_, "input ", i, ": ");
    if (o.constant->data_location() == onnx::TensorProto::EXTERNAL) {
      const std::string file = external_file(*o.constant, where, path_);
      if (beside_.insert(file).second) budget_ += kMaxSharing * static_cast<int64_t>(std::filesystem::file_size(file));
    }
    return decode(*o.constant, where, path_);
  }
  Tensor weights(int i) {
    Tensor t = constant(i).to(Dtype::f32);
    if (t.numel() == 0) fail("input ", i, " is empty");
    return t;
  }

  // A constant list: a shape, axes, bounds.
  std::vector<int64_t> integers(int i) {
    const Tensor t = constant(i);
    if ((t.dtype() != Dtype::i64 && t.dtype() != Dtype::i32) || t.numel() > kMaxNodes)
      fail("expected input ", i, " to be a list of integers");
    return t.to(Dtype::i64).values<int64_t>();
  }
  // ONNX's axis in the order of our axes.
  int our_axis(int64_t axis, Id id) const {
    const int rank = shape(id).rank();
    if (axis < -rank || axis >= rank) fail("axis ", axis, ", expected ", -rank, " to ", rank - 1);
    if (axis < 0) axis += rank;
    for (int k = 0; rank == 4 && k < 4; ++k)
      if (kToNhwc[k] == axis) return k;
    return static_cast<int>(axis);
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

  // --- one function per operator: onnx_import.cc ----------------------------------------------------------------------------------
  void conv(), batch_norm(), prelu(), add(), sub(), mul(), div(), gemm(), matmul(), flatten_node(), reshape(), transpose_node(),
      global_average_pool(), average(int64_t keep), relu(), sigmoid(), identity(), constant_node(), concat(), split(), slice_node(),
      max_pool(), reduce_mean();
  static double shortest(float v);
  void binary(const char* op);
  static std::vector<int64_t> resolved(std::vector<int64_t> to, const std::vector<int64_t>& from);
  void check_padding();
  std::vector<int64_t> symmetric_pads();
  Id part(Id x, int axis, int64_t begin, int64_t end);
  Tensor broadcastable(int i, const Shape& to);
  Id gemm_bias(int64_t outputs);
  Id product(bool transposed);
  void flatten(const Operand& o);

  const onnx::ModelProto& proto_;
  const onnx::GraphProto& graph_;
  const std::string& file_;
  const std::string& path_;       // of the file, empty if it is none
  std::set<std::string> beside_;  // files of external data
  int64_t budget_;                // bytes of parameters still allowed
  Model out_;
  std::map<std::string, Operand> names_;
  std::map<std::string, int> used_;
  std::set<std::string> taken_;
  std::string where_;
  const onnx::NodeProto* node_ = nullptr;
  std::map<std::string, const onnx::AttributeProto*> attributes_;
};

}  // namespace vitrine::io
