#include "quant/lower.h"

#include <cmath>
#include <optional>
#include <set>

#include "engine/ops/batch_norm.h"
#include "engine/ops/matmul.h"
#include "quant/format.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/qconv2d.h"

namespace vitrine::quant {
namespace {

constexpr Id kNone = -1;

// v * gain + shift, per channel.
struct Affine {
  std::vector<double> gain, shift;
  explicit Affine(int64_t channels) : gain(channels, 1.0), shift(channels, 0.0) {}
};

// A layer with all it takes along; ids and nodes are those of the quantized graph.
struct Chain {
  const GraphNode *layer = nullptr, *out = nullptr, *second_out = nullptr;  // out: quantizers
  Id y = kNone;                                                             // where it ends
  Affine affine;
  Id slope = kNone, residual = kNone;
  std::optional<Affine> post, second;
};

class Lowering {
 public:
  Lowering(const Model& from, Model& to) : from_(from), g_(from.graph), readers_(g_), to_(to) {
    const size_t n = g_.values.size();
    producer_.resize(n), real_.assign(n, kNone), codes_.assign(n, kNone), given_.assign(n, kNone);
    for (const GraphNode& node : g_.nodes)
      for (Id id : node.out) producer_[id] = &node;
  }

  void run() {
    for (Id id : g_.inputs) real_[id] = to_.graph.add_value(Value::Kind::input, g_.values[id].name, g_.values[id].meta);
    for (const GraphNode& node : g_.nodes)
      if (is_integer_layer(node)) find_chain(node);
    for (const GraphNode& node : g_.nodes) {
      if (auto chain = ends_.find(&node); chain != ends_.end())
        emit(chain->second);
      else if (!absorbed_.count(&node))
        emit(node);
    }
    for (Id id : g_.outputs) to_.graph.outputs.push_back(real(id));
  }

 private:
  // --- what the quantized graph says ---
  bool given(Id id) const { return g_.values[id].given(); }
  const Tensor& tensor(Id id) const { return from_.tensors.at(g_.values[id].name); }
  int64_t channels(Id id) const { return g_.values[id].meta.shape.rank() ? g_.values[id].meta.shape.back() : 1; }

  // The quantizer whose codes a value has, through views; null if there is none that fits a byte.
  const GraphNode* quantizer(Id id) const {
    const GraphNode* n = producer_[id];
    while (n && is(*n, "reshape")) n = producer_[n->in[0]];
    return n && stores(*n) ? n : nullptr;
  }
  bool stores(const GraphNode& n) const {
    return is(n, "fake_quant") && given(n.in[1]) && static_cast<FakeQuantAttrs&>(*n.attrs).bits <= 8;
  }
  bool packs(Id w) const {
    if (given(w) || !constant(w)) return false;
    auto& a = static_cast<FakeQuantWeightAttrs&>(*producer_[w]->attrs);
    return a.bits <= 8 && a.per_channel;
  }
  bool is_integer_layer(const GraphNode& n) const {
    const bool product = is(n, "matmul") && !static_cast<MatmulAttrs&>(*n.attrs).ta && static_cast<MatmulAttrs&>(*n.attrs).tb;
    return (product || is(n, "conv2d")) && quantizer(n.in[0]) && packs(n.in[1]);
  }

  // --- finding chains ---
  // One value for all or one per channel, as a function of the channel; nullopt if it is neither.
  std::optional<std::vector<double>> per_channel(Id id, int64_t c) const {
    if (!given(id)) return std::nullopt;
    auto v = tensor(id).values();
    if (v.size() == 1) return std::vector<double>(c, v[0]);
    return g_.values[id].meta.shape.back() == c && static_cast<int64_t>(v.size()) == c ? std::optional(v) : std::nullopt;
  }

  // Puts `n`, which reads v, behind `f` if it is BatchNorm or adds a bias.
  bool compose(const GraphNode& n, Id v, Affine& f) const {
    const int64_t c = channels(v);
    if (is(n, "batch_norm")) {
      for (int k : {1, 2, 3, 4})
        if (!given(n.in[k])) return false;
      auto gamma = tensor(n.in[1]).values(), beta = tensor(n.in[2]).values(), mean = tensor(n.in[3]).values(),
           var = tensor(n.in[4]).values();
      for (int64_t o = 0; o < c; ++o) {
        const double scale = gamma[o] / std::sqrt(var[o] + static_cast<BatchNormAttrs&>(*n.attrs).eps);
        f.gain[o] *= scale, f.shift[o] = (f.shift[o] - mean[o]) * scale + beta[o];
      }
      return true;
    }
    if (!is(n, "add")) return false;
    auto bias = per_channel(n.in[n.in[0] == v ? 1 : 0], c);
    if (!bias) return false;
    for (int64_t o = 0; o < c; ++o) f.shift[o] += (*bias)[o];
    return true;
  }

  // Takes the next step into the chain if the law has a place for it; false where the chain must end.
  bool extend(Chain& chain, const GraphNode& n) {
    const bool later = chain.slope != kNone || chain.residual != kNone || chain.post;
    Affine next = chain.post ? *chain.post : later ? Affine(channels(chain.y)) : chain.affine;
    if (compose(n, chain.y, next)) {
      if (later)
        chain.post = next;
      else
        chain.affine = next;
    } else if (is(n, "prelu") && !later && constant(n.in[1])) {
      chain.slope = n.in[1];
    } else if (is(n, "add") && n.in[0] != n.in[1] && chain.residual == kNone && !chain.post) {
      const Id other = n.in[n.in[0] == chain.y ? 1 : 0];
      if (!quantizer(other) || g_.values[other].meta != g_.values[chain.y].meta) return false;
      chain.residual = other;
    } else if (stores(n)) {
      chain.out = &n;
    } else {
      return false;
    }
    chain.y = n.out[0];
    absorbed_.insert(&n);
    return true;
  }

  void find_chain(const GraphNode& layer) {
    Chain chain{.layer = &layer, .y = layer.out[0], .affine = Affine(channels(layer.out[0]))};
    const GraphNode* last = &layer;
    absorbed_.insert(&layer);
    for (const GraphNode* n = readers_.sole(chain.y); n && !chain.out && extend(chain, *n); n = readers_.sole(chain.y)) last = n;
    if (chain.out) find_second(chain);
    ends_.emplace(last, chain);
  }

  void find_second(Chain& chain) {
    for (const GraphNode* n : readers_.of(chain.y)) {
      if (!n || !is(*n, "batch_norm")) continue;
      const GraphNode* q = readers_.sole(n->out[0]);
      Affine f(channels(chain.y));
      if (!q || !stores(*q) || !compose(*n, chain.y, f)) continue;
      chain.second = f, chain.second_out = q;
      absorbed_.insert(n), absorbed_.insert(q);
      return;
    }
  }

  // Parameters, quantized or not: constants here.
  bool constant(Id id) const {
    return given(id) || (producer_[id] && is(*producer_[id], "fake_quant_weight") && given(producer_[id]->in[0]));
  }

  // --- writing the integer graph ---
  std::string free_name(std::string name) const {
    while (to_.graph.find(name) >= 0) name += "_";
    return name;
  }
  Id add_value(Value::Kind kind, const std::string& name, const Tensor& t) {
    const std::string free = free_name(name);
    to_.tensors[free] = t;
    return to_.graph.add_value(kind, free, t.meta());
  }
  Id buffer(const std::string& name, const std::vector<double>& v) {
    return add_value(Value::Kind::buffer, name, Tensor::from({static_cast<int64_t>(v.size())}, v).to(Dtype::f32));
  }
  Id keep(Id id) {  // a given value as it is
    if (given_[id] == kNone) given_[id] = add_value(g_.values[id].kind, g_.values[id].name, tensor(id).clone());
    return given_[id];
  }
  Id add(const char* op, AttrsPtr attrs, std::vector<Id> in) {
    return to_.graph.add_node(op_named(op), std::move(attrs), std::move(in))[0];
  }

  struct Weights {
    Id codes, scale, zero;
  };
  Weights weights(Id w) {
    if (auto done = weights_.find(w); done != weights_.end()) return done->second;
    const GraphNode& n = *producer_[w];
    const std::string& name = g_.values[n.in[0]].name;
    PackedWeights p = pack_weights(tensor(n.in[0]), static_cast<FakeQuantWeightAttrs&>(*n.attrs), name);
    const Id codes = add_value(Value::Kind::parameter, name, p.codes);
    return weights_[w] = {codes, add_value(Value::Kind::buffer, name + ".scale", p.scale),
                          add_value(Value::Kind::buffer, name + ".zero", p.zero)};
  }

  // A value of the quantized graph as floats; what is made of constants is made when first asked for.
  Id real(Id id) {
    if (given(id)) return keep(id);
    if (real_[id] != kNone) return real_[id];
    if (packs(id)) {
      const Weights w = weights(id);
      return real_[id] = add("dequantize_weight", nullptr, {w.codes, w.scale, w.zero});
    }
    if (constant(id)) {
      const GraphNode& n = *producer_[id];
      auto& a = static_cast<FakeQuantWeightAttrs&>(*n.attrs);
      const Tensor values = fake_quant_weight(tensor(n.in[0]), a.bits, a.per_channel, a.mse);
      return real_[id] = add_value(Value::Kind::parameter, g_.values[n.in[0]].name, values);
    }
    const GraphNode* q = quantizer(id);
    CHECK(q && codes_[id] != kNone, "lowering: a value ", str(g_.values[id].meta), " is read before it is made");
    return real_[id] = add("dequantize", q->attrs, {codes_[id], keep(q->in[1])});
  }

  void emit(const GraphNode& n) {
    if (stores(n)) {
      codes_[n.out[0]] = add("quantize", n.attrs, {real(n.in[0]), keep(n.in[1])});
    } else if (is(n, "reshape") && codes_[n.in[0]] != kNone) {
      codes_[n.out[0]] = add("reshape", n.attrs, {codes_[n.in[0]]});
    } else if (!constant(n.out[0])) {
      std::vector<Id> in;
      for (Id id : n.in) in.push_back(real(id));
      const auto out = to_.graph.add_node(*n.op, n.attrs, in);
      for (size_t i = 0; i < out.size(); ++i) real_[n.out[i]] = out[i];
    }
  }

  void emit(const Chain& c) {
    auto a = std::make_shared<QConv2dAttrs>();
    if (is(*c.layer, "conv2d")) static_cast<Conv2dAttrs&>(*a) = static_cast<Conv2dAttrs&>(*c.layer->attrs);
    const Weights w = weights(c.layer->in[1]);
    const std::string layer = stem(g_.values[producer_[c.layer->in[1]]->in[0]].name);
    std::vector<Id> in{codes_[c.layer->in[0]]};
    auto grid = [&](const GraphNode& quantizer) {
      in.push_back(keep(quantizer.in[1]));
      return static_cast<FakeQuantAttrs&>(*quantizer.attrs).bits;
    };
    auto affine = [&](const Affine& f, const std::string& name) {
      in.push_back(buffer(layer + "." + name + "gain", f.gain)), in.push_back(buffer(layer + "." + name + "shift", f.shift));
    };
    a->x_bits = grid(*quantizer(c.layer->in[0]));
    in.insert(in.end(), {w.codes, w.scale, w.zero});
    affine(c.affine, "");
    if (c.slope != kNone) in.push_back(real(c.slope)), a->slope = 1;
    if (c.residual != kNone) in.push_back(codes_[c.residual]), a->residual_bits = grid(*quantizer(c.residual));
    if (c.post) affine(*c.post, "post_"), a->post = 1;
    if (c.out) a->out_bits = grid(*c.out);
    if (c.second) affine(*c.second, "second_"), a->second_bits = grid(*c.second_out);
    const auto y = to_.graph.add_node(op_named("qconv2d"), a, in);
    (c.out ? codes_ : real_)[c.y] = y[0];
    if (c.second) codes_[c.second_out->out[0]] = y[1];
  }

  const Model& from_;
  const Graph& g_;
  const Readers readers_;
  Model& to_;
  std::vector<const GraphNode*> producer_;
  std::vector<Id> real_, codes_, given_;  // in the integer graph
  std::map<Id, Weights> weights_;
  std::map<const GraphNode*, Chain> ends_;  // by the last node of the chain itself
  std::set<const GraphNode*> absorbed_;
};

}  // namespace

bool is_packed(const Graph& g) {
  for (const Value& v : g.values)
    if (v.kind == Value::Kind::parameter && code_bits(v.meta.dtype)) return true;
  return false;
}

Model lower(const Model& quantized) {
  CHECK(!is_packed(quantized.graph), "the model is packed already");
  CHECK(quantized.graph.updates.empty(), "the graph updates its buffers: expected the form to evaluate");
  bool quantizers = false;
  for (const GraphNode& n : quantized.graph.nodes) quantizers |= is(n, "fake_quant") || is(n, "fake_quant_weight");
  CHECK(quantizers, "no quantizers: expected a model that `vitrine quantize` made");
  Model integers;
  integers.info = quantized.info;
  Lowering(quantized, integers).run();
  check(integers);
  return integers;
}

}  // namespace vitrine::quant
