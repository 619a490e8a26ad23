#include "engine/graph/fuse.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/core/mode.h"
#include "engine/core/parallel.h"
#include "engine/graph/rewrite.h"
#include "engine/ops.h"
#include "engine/ops/batch_norm.h"
#include "engine/ops/cast.h"
#include "engine/ops/conv2d_fused.h"
#include "engine/ops/conv2d_winograd.h"
#include "engine/ops/reduce.h"

namespace vitrine {
namespace {

using Doubles = std::vector<double>;

// A convolution or matrix and what it takes over.
struct Layer {
  FusedConvAttrs attrs;
  Id x = -1;              // read by it, once the BatchNorm before it is taken over
  bool matrix = false;    // x is N,I or flattens to it
  Tensor w;               // [O,kh,kw,I]
  std::string name;       // of its weights
  size_t last = 0;        // the node whose output is the layer's
  Doubles scale, offset;  // of each output, in f64: what is folded so far
  Doubles scale_in;       // of each input channel, likewise; empty: 1
  Tensors before, after;  // to keep the bits: mean, scale, shift of x; mean, scale of y
  Tensor shift, slope;
  Id residual = -1;
  int64_t channels() const { return w.shape()[0]; }
  bool depthwise() const { return attrs.groups == channels() && w.shape()[3] == 1; }
  Id out(const Graph& g) const { return g.nodes[last].out[0]; }
};

// A convolution that cuDNN computes in bf16: a matrix it would, too, but cuBLAS does.
bool reads_bf16(const Graph& g, const GraphNode* n) { return is(n, "conv2d_fused") && g.values[n->in[0]].meta.shape.product(1, 3) > 1; }

// Rounds once, where they are written, what a device would round at each use: weights, and what convolutions alone read.
void store_in_bf16(Model& m) {
  Graph& g = m.graph;
  const Readers readers(g);
  const auto takes_as_it_is = [&](const GraphNode* n, Id x) {
    return reads_bf16(g, n) && n->in[0] == x && std::count(n->in.begin(), n->in.end(), x) == 1 &&
           !static_cast<FusedConvAttrs&>(*n->attrs).before;
  };
  for (GraphNode& n : g.nodes) {
    if (!reads_bf16(g, &n)) continue;
    Value &w = g.values[n.in[1]], &y = g.values[n.out[0]];
    m.tensors[w.name] = converted(m.tensors[w.name], Dtype::bf16), w.meta.dtype = Dtype::bf16;
    const auto& all = readers.of(n.out[0]);
    if (!std::all_of(all.begin(), all.end(), [&](const GraphNode* r) { return takes_as_it_is(r, n.out[0]); })) continue;
    auto a = std::make_shared<FusedConvAttrs>(static_cast<FusedConvAttrs&>(*n.attrs));
    a->rounded = 1, n.attrs = a, y.meta.dtype = Dtype::bf16;
  }
}

class Fuser {
 public:
  Fuser(const Model& m, Fusion fusion, Device target)
      : from_(m.graph), model_(m), on_host_(target == Device::cpu), known_(m.graph.values.size()), to_(m.graph.values.size(), -1) {
    winograd_ = on_host_ || mode().precision == Mode::Precision::f32;
    fold_ = fusion == Fusion::free;
    for (const GraphNode& n : from_.nodes) fold_ = fold_ && n.op->surrogate == Surrogate::none;
    bf16_ = fold_ && !on_host_ && mode().precision == Mode::Precision::bf16;
    taken_.resize(from_.nodes.size());
    layers_.resize(from_.nodes.size());
  }

  Model run() {
    learn();
    for (size_t i = 0; i < from_.nodes.size(); ++i)
      if (!taken_[i]) plan(i);
    out_.info = model_.info;
    for (Id id : from_.inputs) to_[id] = out_.graph.add_value(Value::Kind::input, from_.values[id].name, from_.values[id].meta);
    for (size_t i = 0; i < from_.nodes.size(); ++i) {
      const GraphNode& n = from_.nodes[i];
      if (layers_[i]) {
        to_[n.out[0]] = emit(*layers_[i], from_.values[n.out[0]].meta.shape);
      } else if (!taken_[i]) {
        std::vector<Id> in;
        for (Id id : n.in) in.push_back(use(id));
        auto ids = out_.graph.add_node(*n.op, n.attrs, in);
        for (size_t k = 0; k < ids.size(); ++k) to_[n.out[k]] = ids[k];
      }
    }
    for (Id id : from_.outputs) out_.graph.outputs.push_back(use(id));
    if (bf16_) store_in_bf16(out_);
    check(out_);
    return std::move(out_);
  }

 private:
  // What is known before any input, who makes a value, and who alone reads it.
  void learn() {
    made_by_.assign(from_.values.size(), -1);
    readers_.resize(from_.values.size());
    for (size_t v = 0; v < from_.values.size(); ++v)
      if (auto it = model_.tensors.find(from_.values[v].name); from_.values[v].given() && it != model_.tensors.end())
        known_[v] = it->second;
    for (size_t i = 0; i < from_.nodes.size(); ++i) {
      const GraphNode& n = from_.nodes[i];
      Tensors in;
      for (Id id : n.in) readers_[id].push_back(static_cast<int>(i)), in.push_back(known_[id]);
      for (Id id : n.out) made_by_[id] = static_cast<int>(i);
      taken_[i] = std::all_of(in.begin(), in.end(), [](const Tensor& t) { return bool(t); });
      if (!taken_[i]) continue;
      Tensors out = apply(*n.op, n.attrs, in);
      for (size_t k = 0; k < out.size(); ++k) known_[n.out[k]] = out[k];
    }
    for (Id id : from_.outputs) readers_[id].push_back(-1);
  }

  // The node that alone reads v, if it is an `op` nobody has taken over yet; -1 otherwise.
  int sole_reader(Id v, const char* op) const {
    if (readers_[v].size() != 1 || readers_[v][0] < 0) return -1;
    int i = readers_[v][0];
    return !taken_[i] && is(from_.nodes[i], op) ? i : -1;
  }
  const GraphNode* maker(Id v, const char* op) const {
    return made_by_[v] >= 0 && is(from_.nodes[made_by_[v]], op) ? &from_.nodes[made_by_[v]] : nullptr;
  }

  std::optional<Layer> layer_at(const GraphNode& n) const {
    const bool matrix = is(n, "matmul");
    if ((!matrix && !is(n, "conv2d")) || known_[n.in[0]] || !known_[n.in[1]] || known_[n.in[1]].dtype() != Dtype::f32) return {};
    Layer l{.x = n.in[0], .matrix = matrix, .w = known_[n.in[1]], .name = from_.values[n.in[1]].name};
    if (l.name.empty()) l.name = cat("constant", n.in[1]);
    if (matrix) {
      auto& a = static_cast<MatmulAttrs&>(*n.attrs);
      if (a.ta) return {};
      Tensor rows = a.tb ? l.w : transpose(l.w, {1, 0});
      l.w = rows.view({rows.shape()[0], 1, 1, rows.shape()[1]});
    } else {
      static_cast<Conv2dAttrs&>(l.attrs) = static_cast<Conv2dAttrs&>(*n.attrs);
    }
    l.attrs.kh = l.w.shape()[1], l.attrs.kw = l.w.shape()[2];
    return l;
  }

  // Makes node i a layer, placed where the last node that it takes over stands: there all it reads is known.
  void plan(size_t i) {
    auto layer = layer_at(from_.nodes[i]);
    if (!layer) return;
    Layer& l = *layer;
    l.last = i;
    l.scale.assign(l.channels(), 1), l.offset.assign(l.channels(), 0);
    take_norm_before(l);
    while (take_bias(l) || take_norm(l)) {
    }
    const Shape& y = from_.values[from_.nodes[i].out[0]].meta.shape;
    if (int next = sole_reader(l.out(from_), "prelu"); next >= 0 && per_channel(from_.nodes[next].in[1], l)) {
      l.slope = known_[from_.nodes[next].in[1]];
      take(l, next);
    }
    if (int next = sole_reader(l.out(from_), "add"); next >= 0 && !l.matrix) {
      const GraphNode& sum = from_.nodes[next];
      Id other = sum.in[sum.in[0] == l.out(from_)];
      if (!known_[other] && other != l.out(from_) && from_.values[other].meta.shape == y) l.residual = other, take(l, next);
    }
    l.attrs.winograd = winograd_ && fold_ && !l.matrix && pays_as_winograd(l.attrs, from_.values[l.x].meta.shape, l.w.shape(), y);
    taken_[l.last] = true;
    layers_[l.last] = std::move(l);
  }

  void take(Layer& l, int next) { taken_[l.last] = true, l.last = static_cast<size_t>(next); }
  bool per_channel(Id v, const Layer& l) const { return known_[v] && known_[v].meta() == Meta{{l.channels()}, Dtype::f32}; }

  bool take_bias(Layer& l) {
    int next = sole_reader(l.out(from_), "add");
    if (next < 0 || (!fold_ && l.shift)) return false;
    const GraphNode& n = from_.nodes[next];
    Id bias = n.in[n.in[0] == l.out(from_)];
    if (!per_channel(bias, l)) return false;
    const float* b = known_[bias].data<float>();
    for (int64_t o = 0; o < l.channels(); ++o) l.offset[o] += b[o];
    l.shift = known_[bias];
    take(l, next);
    return true;
  }

  // BatchNorm as x * scale + shift in f64, or, to keep its bits, as its own (x - mean) * scale + shift.
  struct Norm {
    Doubles scale, shift;
    Tensors bits;
  };
  std::optional<Norm> norm_of(const GraphNode& n) const {
    for (int k = 1; k < 5; ++k)
      if (!known_[n.in[k]] || known_[n.in[k]].dtype() != Dtype::f32) return {};
    const double eps = static_cast<BatchNormAttrs&>(*n.attrs).eps;
    const Tensor &gamma = known_[n.in[1]], &beta = known_[n.in[2]], &mean = known_[n.in[3]], &var = known_[n.in[4]];
    Norm norm;
    Tensor scale = Tensor::empty(gamma.meta());
    for (int64_t c = 0; c < gamma.numel(); ++c) {
      auto at = [&](const Tensor& t) { return static_cast<double>(t.data<float>()[c]); };
      norm.scale.push_back(at(gamma) / std::sqrt(at(var) + eps));
      norm.shift.push_back(at(beta) - at(mean) * norm.scale.back());
      scale.data<float>()[c] = batch_norm_scale(gamma.data<float>()[c], var.data<float>()[c], eps);
    }
    norm.bits = {mean, scale, beta};
    return norm;
  }

  bool take_norm(Layer& l) {
    int next = sole_reader(l.out(from_), "batch_norm");
    if (next < 0 || (!fold_ && l.shift)) return false;
    auto norm = norm_of(from_.nodes[next]);
    if (!norm) return false;
    for (int64_t o = 0; o < l.channels(); ++o) {
      l.scale[o] *= norm->scale[o];
      l.offset[o] = l.offset[o] * norm->scale[o] + norm->shift[o];
    }
    l.after = {norm->bits[0], norm->bits[1]}, l.shift = norm->bits[2];
    take(l, next);
    return true;
  }

  // A BatchNorm before the layer folds into the weights too, unless zeros are padded between: those do not pass through it.
  void take_norm_before(Layer& l) {
    Id x = l.x;
    if (const GraphNode* flat = l.matrix ? maker(x, "reshape") : nullptr; flat && readers_[x].size() == 1 && keeps_images_apart(*flat))
      x = flat->in[0];
    const GraphNode* n = maker(x, "batch_norm");
    if (!n || readers_[x].size() != 1 || taken_[made_by_[x]] || l.attrs.groups != 1) return;
    const bool into_weights = fold_ && l.attrs.pad_h == 0 && l.attrs.pad_w == 0;
    auto norm = norm_of(*n);
    if (!norm || (!into_weights && (l.matrix || l.depthwise()))) return;
    taken_[made_by_[x]] = true;
    if (x != l.x) taken_[made_by_[l.x]] = true;
    l.x = n->in[0];
    if (!into_weights) {
      l.before = norm->bits;
      return;
    }
    l.scale_in = norm->scale;
    const int64_t depth = l.w.numel() / l.channels();
    for (int64_t o = 0; o < l.channels(); ++o)
      for (int64_t k = 0; k < depth; ++k) l.offset[o] += l.w.data<float>()[o * depth + k] * norm->shift[k % norm->shift.size()];
  }

  bool keeps_images_apart(const GraphNode& reshape) const {
    const Shape &from = from_.values[reshape.in[0]].meta.shape, &to = from_.values[reshape.out[0]].meta.shape;
    return from.rank() > 1 && from[0] == to[0];
  }

  Tensor folded_weights(const Layer& l) const {
    Tensor w = Tensor::empty(l.w.meta());
    const int64_t depth = w.numel() / l.channels();
    parallel_for(l.channels(), 1, [&](int64_t o, int64_t) {
      for (int64_t k = 0; k < depth; ++k) {
        const double in = l.scale_in.empty() ? 1 : l.scale_in[k % l.scale_in.size()];
        w.data<float>()[o * depth + k] = static_cast<float>(l.w.data<float>()[o * depth + k] * in * l.scale[o]);
      }
    });
    return w;
  }

  Tensor shift_of(const Layer& l) const {
    if (!fold_) return l.shift ? l.shift : Tensor::full({l.channels()}, -0.0);  // y + -0 is y, also where y is -0
    return Tensor::from({l.channels()}, std::vector<float>(l.offset.begin(), l.offset.end()));
  }

  Id emit(const Layer& l, const Shape& y) {
    FusedConvAttrs a = l.attrs;
    const Tensor w = fold_ ? folded_weights(l) : l.w;
    const Tensors after = fold_ ? Tensors{} : l.after;
    a.before = !l.before.empty(), a.after = !after.empty(), a.prelu = bool(l.slope), a.residual = l.residual >= 0;
    Id x = use(l.x);
    if (l.matrix) x = reshaped(x, {0, 1, 1, l.w.numel() / l.channels()});
    PackAttrs pack;
    pack.groups = a.groups, pack.winograd = a.winograd;
    std::vector<Id> in{x, constant(l.name, l.depthwise() || !on_host_ ? w : conv2d_pack(w, pack)),
                       constant(l.name + ".shift", shift_of(l))};
    for (const Tensors* more : {&l.before, &after})
      for (const Tensor& t : *more) in.push_back(constant(l.name + ".norm", t));
    if (l.slope) in.push_back(constant(l.name + ".slope", l.slope));
    if (l.residual >= 0) in.push_back(use(l.residual));
    Id out = out_.graph.add_node(op_named("conv2d_fused"), std::make_shared<FusedConvAttrs>(a), in)[0];
    return l.matrix ? reshaped(out, {0, y[1]}) : out;
  }

  Id reshaped(Id x, Shape to) {
    auto a = std::make_shared<ShapeAttrs>();
    a->shape = to;
    return out_.graph.add_node(op_named("reshape"), a, {x})[0];
  }

  // A value of the old graph in the new one.
  Id use(Id v) {
    if (to_[v] >= 0 || !known_[v]) return to_[v];
    const Value& old = from_.values[v];
    return to_[v] = constant(old.name.empty() ? cat("constant", v) : old.name, known_[v]);
  }
  Id constant(std::string name, const Tensor& t) {
    while (out_.tensors.count(name)) name += "_";
    out_.tensors[name] = t;
    return out_.graph.add_value(Value::Kind::buffer, name, t.meta());
  }

  const Graph& from_;
  const Model& model_;
  const bool on_host_;
  bool fold_, winograd_, bf16_;
  Tensors known_;                          // by value
  std::vector<int> made_by_;               // by value
  std::vector<std::vector<int>> readers_;  // by value; -1: an output
  std::vector<bool> taken_;                // by node: it is constant or part of a layer
  std::vector<std::optional<Layer>> layers_;
  std::vector<Id> to_;
  Model out_;
};

}  // namespace

Model fused(const Model& m, Fusion fusion) {
  CHECK(m.graph.updates.empty(), "fused: this graph is for training");
  NoGrad quiet;
  const Device device = device_of(m);
  Model f = to(Fuser(to(m, Device::cpu), fusion, device).run(), device);
  if (device == Device::cpu) f.graph = with_chains(f.graph);
  return f;
}

}  // namespace vitrine
