#include "quant/placement.h"

#include <charconv>

#include "engine/graph/rewrite.h"
#include "engine/ops/matmul.h"
#include "quant/ops/fake_quant.h"

namespace vitrine::quant {
namespace {

bool is(const GraphNode& n, const char* op) { return std::string(n.op->name) == op; }

class Placer {
 public:
  Placer(const QuantSpec& spec, Model& student) : spec_(spec), student_(student) {}

  std::vector<Id> operator()(Graph& g, const GraphNode& node, std::vector<Id> in) {
    if (is(node, "conv2d") || (is(node, "matmul") && named(g, in[1]))) in[1] = weight(g, in[1], spec_.weight_bits, true);
    if (is(node, "prelu")) {
      std::string layer = stem(g.values[in[1]].name);
      in[1] = weight(g, in[1], spec_.act_bits, false);
      return {activation(g, copy_node(g, node, in)[0], layer)};
    }
    auto out = copy_node(g, node, in);
    bool residual = is(node, "add") && !named(g, in[0]) && !named(g, in[1]);
    return residual ? std::vector<Id>{activation(g, out[0], cat("add", ++additions_))} : out;
  }

 private:
  static bool named(const Graph& g, Id id) { return g.values[id].kind == Value::Kind::parameter; }
  static std::string stem(const std::string& name) { return name.substr(0, name.rfind('.')); }  // "prelu.weight" -> "prelu"

  Id weight(Graph& g, Id w, int64_t bits, bool per_channel) {
    auto a = std::make_shared<FakeQuantWeightAttrs>();
    a->bits = bits, a->per_channel = per_channel;
    return g.add_node(op_named("fake_quant_weight"), a, {w})[0];
  }
  Id activation(Graph& g, Id x, const std::string& layer) {
    auto a = std::make_shared<FakeQuantAttrs>();
    a->bits = spec_.act_bits;
    std::string name = layer + ".range";
    Id range = g.add_value(Value::Kind::buffer, name, Meta{{2}, g.values[x].meta.dtype});
    student_.tensors[name] = Tensor::zeros({2}, g.values[x].meta.dtype);
    return g.add_node(op_named("fake_quant"), a, {x, range})[0];
  }

  QuantSpec spec_;
  Model& student_;
  int additions_ = 0;
};

}  // namespace

QuantSpec parse_bits(const std::string& text) {
  QuantSpec s;
  const char* end = text.data() + text.size();
  auto fail = [&]() -> QuantSpec { throw Error(cat("bits '", text, "': expected w<2-16>a<2-16>, for example w6a6")); };
  if (text.empty() || text[0] != 'w') return fail();
  auto w = std::from_chars(text.data() + 1, end, s.weight_bits);
  if (w.ec != std::errc() || w.ptr == end || *w.ptr != 'a') return fail();
  auto a = std::from_chars(w.ptr + 1, end, s.act_bits);
  if (a.ec != std::errc() || a.ptr != end) return fail();
  if (s.weight_bits < 2 || s.weight_bits > 16 || s.act_bits < 2 || s.act_bits > 16) return fail();
  return s;
}

std::string str(const QuantSpec& s) { return cat("w", s.weight_bits, "a", s.act_bits); }

Model quantface(const Model& teacher, const QuantSpec& spec) {
  Census before = census(teacher.graph);
  CHECK(before.activations + before.convolutions + before.matrices == 0, "the model is quantized already");
  Model student = clone(teacher);
  student.graph = rewrite(teacher.graph, Placer(spec, student));
  student.info["bits"] = str(spec);
  student.info["scheme"] = "quantface";
  check(student);
  return student;
}

Graph with_running_ranges(const Graph& g) {
  return rewrite(g, [](Graph& copy, const GraphNode& node, std::vector<Id> in) {
    if (is(node, "fake_quant")) {
      Id range = in[1];
      in[1] = copy.add_node(op_named("observe"), nullptr, in)[0];
      copy.updates.push_back({range, in[1]});
    }
    return copy_node(copy, node, in);
  });
}

Census census(const Graph& g) {
  Census c;
  std::map<Id, bool> weights;
  for (const GraphNode& n : g.nodes) {
    if (is(n, "fake_quant")) ++c.activations;
    if (is(n, "fake_quant_weight")) weights[n.out[0]] = true;
    bool quantized = n.in.size() > 1 && weights.count(n.in[1]);
    if (is(n, "conv2d")) c.convolutions += quantized;
    if (is(n, "matmul")) c.matrices += quantized;
    if (is(n, "prelu")) c.slopes += quantized;
  }
  return c;
}

}  // namespace vitrine::quant
