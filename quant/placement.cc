#include "quant/placement.h"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>

#include "engine/core/text.h"
#include "engine/graph/rewrite.h"
#include "engine/ops/matmul.h"
#include "quant/lower.h"
#include "quant/ops/fake_quant.h"

namespace vitrine::quant {
namespace {

bool is(const GraphNode& n, std::initializer_list<std::string_view> ops) { return std::count(ops.begin(), ops.end(), n.op->name) > 0; }
bool given(const Graph& g, Id id) { return g.values[id].given(); }

bool is_layer(const Graph& g, const GraphNode& n) { return is(n, {"conv2d"}) || (is(n, {"matmul"}) && given(g, n.in[1])); }
bool elementwise(const GraphNode& n) { return is(n, {"add", "sub", "mul", "div"}); }
bool joins(const Graph& g, const GraphNode& n) { return elementwise(n) && !given(g, n.in[0]) && !given(g, n.in[1]); }

using Grids = std::map<Id, int64_t>;  // value of the teacher's graph that shall lie on a grid -> bits

class Placer {
 public:
  Placer(const Model& teacher, const QuantSpec& spec, Model& student) : from_(teacher.graph), spec_(spec), student_(student) {
    for (const GraphNode& n : from_.nodes)
      if (is_layer(from_, n)) last_ = &n, first_ = first_ ? first_ : &n;
    for (auto& l : spec_.layers) unused_.insert(l.pattern);
  }

  void quantface() {
    for (const GraphNode& n : from_.nodes)
      if (is(n, {"prelu"}) || (is(n, {"add"}) && joins(from_, n))) grids_[n.out[0]] = spec_.act_bits;
    place(true);
  }

  // Readers before what they read, so that all demands on a value are known when its own node comes.
  void integer() {
    read_from_accumulators();
    std::map<Id, int> readers;
    auto demand = [&](Id v, int64_t bits) { grids_[v] = std::max(grids_[v], bits); };
    for (auto n = from_.nodes.rbegin(); n != from_.nodes.rend(); ++n) {
      bool layer = is_layer(from_, *n), both = joins(from_, *n) || (is(*n, {"matmul"}) && !layer), view = is(*n, {"reshape", "transpose"});
      if (layer || is(*n, {"sum"})) demand(n->in[0], layer ? bits_of(*n).act_bits : spec_.act_bits);
      for (Id v : n->in)
        if (!given(from_, v) && !accumulated_.count(v) && (both || ++readers[v] == 2)) demand(v, spec_.act_bits);
      if (auto grid = grids_.find(n->out[0]); view && grid != grids_.end()) demand(n->in[0], grid->second), grids_.erase(grid);
    }
    pixels_at_eight_bits();
    place(false);
  }

 private:
  // One term of each sum need not be stored: the later of those that are a layer's accumulator with bias, BatchNorm and PReLU at most,
  // which nobody else reads. Integer kernels add the other term there.
  void read_from_accumulators() {
    std::map<Id, int> readers;
    for (const GraphNode& n : from_.nodes)
      for (Id id : n.in) ++readers[id];
    for (Id id : from_.outputs) ++readers[id];
    std::set<Id> affine, bent;  // accumulators, before and behind PReLU
    for (const GraphNode& n : from_.nodes) {
      const Id x = n.in[0], y = n.out[0];
      if (is(n, {"add"}) && joins(from_, n)) {
        for (Id term : {std::max(x, n.in[1]), std::min(x, n.in[1])})
          if (x != n.in[1] && (affine.count(term) || bent.count(term))) {
            accumulated_.insert(term);
            break;
          }
      }
      if (readers[y] != 1) continue;
      const bool bias = is(n, {"add"}) && !joins(from_, n);
      if (is_layer(from_, n) || ((bias || is(n, {"batch_norm"})) && (affine.count(x) || (bias && affine.count(n.in[1]))))) affine.insert(y);
      if (is(n, {"prelu"}) && affine.count(x)) bent.insert(y);
    }
  }

  void place(bool slopes) {
    student_.graph = rewrite(from_, [&](Graph& g, const GraphNode& n, std::vector<Id> in) {
      for (size_t k = 0; k < in.size(); ++k)
        if (from_.values[n.in[k]].kind == Value::Kind::input && grids_.count(n.in[k])) in[k] = image(g, in[k], grids_[n.in[k]]);
      if (is_layer(from_, n)) in[1] = weight(g, in[1], bits_of(n).weight_bits, is(n, {"conv2d"}) || static_cast<MatmulAttrs&>(*n.attrs).tb);
      if (slopes && is(n, {"prelu"})) in[1] = weight(g, in[1], bits_of(n).act_bits, false);
      auto out = copy_node(g, n, in);
      if (auto grid = grids_.find(n.out[0]); grid != grids_.end()) out[0] = activation(g, out[0], name_of(n), grid->second);
      return out;
    });
    CHECK(unused_.empty(), "layer bits '", *unused_.begin(), "': no layer and no range has this name");
  }

  LayerBits exception(const std::string& name, LayerBits bits) {
    for (const LayerBits& l : spec_.layers)
      if (fnmatch(l.pattern.c_str(), name.c_str(), 0) == 0) bits = l, unused_.erase(l.pattern);
    return bits;
  }
  LayerBits bits_of(const GraphNode& n) {
    bool end = spec_.ends && (&n == first_ || &n == last_);
    return exception(stem(from_.values[n.in[1]].name), {"", end ? spec_.ends : spec_.weight_bits, end ? spec_.ends : spec_.act_bits});
  }
  // Of the range behind a node: its first parameter's layer, or the operator's name and a number.
  std::string name_of(const GraphNode& n) {
    for (Id id : n.in)
      if (given(from_, id)) return stem(from_.values[id].name);
    return cat(n.op->name, ++numbers_[n.op->name]);
  }

  // What is only a shift and scale of the image deserves the pixels' bits.
  void pixels_at_eight_bits() {
    std::set<Id> pixels(from_.inputs.begin(), from_.inputs.end());
    for (const GraphNode& n : from_.nodes) {
      bool affine = (elementwise(n) && !joins(from_, n)) || is(n, {"add_scalar", "mul_scalar", "transpose"});
      if (affine && (pixels.count(n.in[0]) || (n.in.size() > 1 && pixels.count(n.in[1])))) pixels.insert(n.out[0]);
    }
    for (auto& [v, bits] : grids_)
      if (pixels.count(v)) bits = std::max<int64_t>(bits, 8);
  }

  Id weight(Graph& g, Id w, int64_t bits, bool per_channel) {
    if (bits == kFloat || !given(g, w)) return w;
    auto a = std::make_shared<FakeQuantWeightAttrs>();
    a->bits = bits, a->per_channel = per_channel, a->mse = spec_.weight_mse;
    return g.add_node(op_named("fake_quant_weight"), a, {w})[0];
  }
  Id activation(Graph& g, Id x, std::string name, int64_t bits, std::vector<float> start = {0, 0}) {
    bits = exception(name, {"", 0, bits}).act_bits;
    if (bits == kFloat) return x;
    auto a = std::make_shared<FakeQuantAttrs>();
    a->bits = bits;
    while (student_.tensors.count(name + ".range")) name += "_";
    Dtype d = g.values[x].meta.dtype;
    Id range = g.add_value(Value::Kind::buffer, name + ".range", Meta{{2}, d});
    student_.tensors[name + ".range"] = Tensor::from({2}, start).to(d).to(device_of(student_));
    return g.add_node(op_named("fake_quant"), a, {x, range})[0];
  }
  // The code of pixel p is p - mean, rounded. With a fraction in the mean the range is widened a little: rounding must not meet ties, which
  // would throw neighbours together.
  Id image(Graph& g, Id x, int64_t bits) {
    if (auto done = images_.find(x); done != images_.end()) return done->second;
    float mean = number("mean"), unit = (mean == std::nearbyint(mean) ? 1 : 1 + 0x1p-12f) / number("std");
    return images_[x] = activation(g, x, g.values[x].name, bits == kFloat ? kFloat : 8, {-mean * unit, (255 - mean) * unit});
  }
  float number(const std::string& key) {
    auto it = student_.info.find(key);
    if (it == student_.info.end()) return 127.5f;
    const float v = number_from<float>(it->second).value_or(-1);
    CHECK(v >= 0 && v < 1e6f && (v > 0 || key == "mean"), "model info ", key, "='", it->second,
          "': expected a number that pixels can have");
    return v;
  }

  const Graph& from_;
  const QuantSpec& spec_;
  Model& student_;
  Grids grids_;
  const GraphNode *first_ = nullptr, *last_ = nullptr;
  std::map<std::string, int> numbers_;
  std::map<Id, Id> images_;
  std::set<Id> accumulated_;
  std::set<std::string> unused_;
};

Model quantized(const Model& teacher, const QuantSpec& spec, const char* scheme, void (Placer::*place)()) {
  Census before = census(teacher.graph);
  const bool fresh = before.activations + before.convolutions + before.matrices == 0 && !is_packed(teacher.graph);
  CHECK(fresh, "the model is quantized already, expected a float one");
  Model student = clone(teacher);
  Placer placer(teacher, spec, student);
  (placer.*place)();
  student.info["bits"] = str(spec);
  student.info["scheme"] = scheme;
  check(student);
  return student;
}

bool valid(int64_t bits) { return (bits >= 2 && bits <= 16) || bits == kFloat; }

}  // namespace

QuantSpec parse_bits(const std::string& text) {
  QuantSpec s;
  const char* end = text.data() + text.size();
  auto fail = [&]() -> QuantSpec { throw Error(cat("bits '", text, "': expected w<2-16>a<2-16>, for example w6a6; 32: left in float")); };
  if (text.empty() || text[0] != 'w') return fail();
  auto w = std::from_chars(text.data() + 1, end, s.weight_bits);
  if (w.ec != std::errc() || w.ptr == end || *w.ptr != 'a') return fail();
  auto a = std::from_chars(w.ptr + 1, end, s.act_bits);
  if (a.ec != std::errc() || a.ptr != end || !valid(s.weight_bits) || !valid(s.act_bits)) return fail();
  return s;
}

std::vector<LayerBits> parse_layer_bits(const std::string& text) {
  std::vector<LayerBits> all;
  std::istringstream list(text);
  for (std::string item; std::getline(list, item, ',');) {
    size_t at = item.rfind('=');
    CHECK(at != std::string::npos && at > 0, "layer bits '", item, "': expected <layer>=w<bits>a<bits>");
    QuantSpec bits = parse_bits(item.substr(at + 1));
    all.push_back({item.substr(0, at), bits.weight_bits, bits.act_bits});
  }
  return all;
}

std::string str(const QuantSpec& s) { return cat("w", s.weight_bits, "a", s.act_bits); }

Model quantface(const Model& teacher, const QuantSpec& spec) { return quantized(teacher, spec, "quantface", &Placer::quantface); }
Model integer(const Model& teacher, const QuantSpec& spec) { return quantized(teacher, spec, "integer", &Placer::integer); }

std::vector<std::string> float_inputs(const Graph& g) {
  std::vector<std::string> names;
  std::set<Id> grid;
  std::map<Id, Id> latent;  // quantized weights -> the parameter
  for (const GraphNode& n : g.nodes) {
    bool keeps = is(n, {"reshape", "transpose", "relu"}) && grid.count(n.in[0]);  // relu: 0 is on every grid
    if (keeps || is(n, {"fake_quant", "fake_quant_weight"})) grid.insert(n.out[0]), latent[n.out[0]] = n.in[0];
    if (!is(n, {"conv2d", "matmul"}) || (grid.count(n.in[0]) && grid.count(n.in[1]))) continue;
    const Value& w = g.values[latent.count(n.in[1]) ? latent[n.in[1]] : n.in[1]];
    names.push_back(w.name.empty() ? cat(n.op->name, " of ", str(w.meta)) : w.name);
  }
  return names;
}

Graph with_running_ranges(const Graph& g, const ObserveAttrs& rule) {
  return rewrite(g, [&](Graph& copy, const GraphNode& node, std::vector<Id> in) {
    if (is(node, {"fake_quant"}) && copy.values[in[0]].kind != Value::Kind::input) {
      auto a = std::make_shared<ObserveAttrs>(rule);
      a->bits = static_cast<FakeQuantAttrs&>(*node.attrs).bits;
      Id range = in[1];
      in[1] = copy.add_node(op_named("observe"), a, in)[0];
      copy.updates.push_back({range, in[1]});
    }
    return copy_node(copy, node, in);
  });
}

Graph with_clipped_gradients(const Graph& g) {
  return rewrite(g, [](Graph& copy, const GraphNode& node, std::vector<Id> in) {
    if (is(node, {"fake_quant"})) in[0] = copy.add_node(op_named("clip"), nullptr, in)[0];
    return copy_node(copy, node, in);
  });
}

Census census(const Graph& g) {
  Census c;
  std::map<Id, bool> weights;
  for (const GraphNode& n : g.nodes) {
    if (is(n, {"fake_quant"})) ++c.activations;
    if (is(n, {"fake_quant_weight"})) weights[n.out[0]] = true;
    bool quantized = n.in.size() > 1 && weights.count(n.in[1]);
    if (is(n, {"conv2d"})) c.convolutions += quantized;
    if (is(n, {"matmul"})) c.matrices += quantized;
    if (is(n, {"prelu"})) c.slopes += quantized;
  }
  return c;
}

}  // namespace vitrine::quant
