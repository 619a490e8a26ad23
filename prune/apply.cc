#include "prune/apply.h"

#include <algorithm>
#include <cstring>

#include "engine/ops/conv2d.h"
#include "engine/ops/matmul.h"

namespace vitrine::prune {
namespace {

bool goes(int channel, const Removed& removed) { return channel >= 0 && removed[channel]; }

Shape left_of(const Shape& shape, const std::vector<Channels>& axes, const Removed& removed) {
  Shape to = shape;
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (!axes[axis].empty()) to[axis] = static_cast<int64_t>(left(axes[axis], removed).size());
  return to;
}

Tensor sliced(Tensor t, const std::vector<Channels>& axes, const Removed& removed) {
  for (int axis = 0; axis < t.shape().rank(); ++axis) {
    if (axes[axis].empty()) continue;
    const auto keep = left(axes[axis], removed);
    Shape to = t.shape();
    to[axis] = static_cast<int64_t>(keep.size());
    if (to == t.shape()) continue;
    Tensor y = Tensor::empty({to, t.dtype(), t.device()});
    const int64_t bytes = to.product(axis + 1, to.rank()) * info(t.dtype()).block_bytes, rows = to.product(0, axis);
    auto* from = static_cast<const char*>(t.raw());
    auto* into = static_cast<char*>(y.raw());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k : keep) std::memcpy(into, from + (r * t.shape()[axis] + k) * bytes, bytes), into += bytes;
    t = y;
  }
  return t;
}

}  // namespace

std::vector<int64_t> left(const Channels& axis, const Removed& removed) {
  std::vector<int64_t> indices;
  for (size_t i = 0; i < axis.size(); ++i)
    if (!goes(axis[i], removed)) indices.push_back(static_cast<int64_t>(i));
  return indices;
}

Graph narrowed(const Graph& g, const Structure& s, const Removed& removed) {
  Graph to = g;
  for (size_t v = 0; v < g.values.size(); ++v) to.values[v].meta.shape = left_of(g.values[v].meta.shape, s.of[v], removed);
  for (GraphNode& n : to.nodes) {
    if (!n.op->narrow) continue;
    Metas in, out;
    for (Id id : n.in) in.push_back(to.values[id].meta);
    for (Id id : n.out) out.push_back(to.values[id].meta);
    auto left_below = [&](int k, int axis, int64_t index) {
      const Channels& c = s.of[n.in[k]][axis];
      return c.empty() ? index : std::count_if(c.begin(), c.begin() + index, [&](int channel) { return !goes(channel, removed); });
    };
    n.attrs = n.op->narrow({in, out, n.attrs.get(), left_below});
  }
  check(to);
  return to;
}

Model apply(const Model& m, const Structure& s, const Removed& removed) {
  Model to{narrowed(m.graph, s, removed), {}, m.info};
  for (auto& [name, tensor] : m.tensors) {
    const Id id = m.graph.find(name);
    Tensor t = id < 0 ? tensor : sliced(tensor, s.of[id], removed);
    to.tensors[name] = t.shares(tensor) ? t.clone() : t;
  }
  check(to);
  return to;
}

namespace {

// The only reader of a value, through which the removed channels' mean can be given back. -1: none.
Id taker(const Graph& g, const Readers& readers, Id value, int* input) {
  const GraphNode* only = readers.sole(value);
  if (!only) return -1;
  *input = only->in[0] == value ? 1 : 0;  // of add: the other one
  if (is(*only, "batch_norm") && only->in[0] == value) return only->in[3];
  const bool bias = is(*only, "add") && g.values[only->in[*input]].kind == Value::Kind::parameter &&
                    g.values[only->in[*input]].meta.shape == Shape({g.values[value].meta.shape.back()});
  return bias ? only->in[*input] : -1;
}

bool is_layer(const Graph& g, const GraphNode& n) {
  if (g.values[n.in.size() > 1 ? n.in[1] : n.in[0]].kind != Value::Kind::parameter) return false;
  return (is(n, "conv2d") && static_cast<Conv2dAttrs&>(*n.attrs).groups == 1) ||
         (is(n, "matmul") && static_cast<MatmulAttrs&>(*n.attrs).tb && !static_cast<MatmulAttrs&>(*n.attrs).ta);
}

}  // namespace

void Means::observe(const Tensor& images) {
  std::map<Id, bool> wanted;
  for (const GraphNode& n : model_.graph.nodes)
    if (is_layer(model_.graph, n)) wanted[n.in[0]] = true;
  NoGrad quiet;
  run(model_.graph, model_.tensors, {images}, [&](const GraphNode& n, const Tensors& out) {
    if (!wanted.count(n.out[0])) return;
    auto& sum = sums_[n.out[0]];
    const int64_t channels = out[0].shape().back();
    sum.resize(channels);
    const float* x = out[0].data<float>();
    for (int64_t i = 0; i < out[0].numel(); ++i) sum[i % channels] += x[i];
    counts_[n.out[0]] += out[0].numel() / channels;
  });
}

int Means::compensate(Model& after, const Structure& s, const Removed& removed) const {
  const Graph& g = model_.graph;
  const Readers readers(g);
  int layers = 0;
  for (const GraphNode& n : g.nodes) {
    int input = 0;
    if (!is_layer(g, n) || !sums_.count(n.in[0])) continue;
    const Id to = taker(g, readers, n.out[0], &input);
    const Channels& columns = s.of[n.in[0]].back();
    if (to < 0 || columns.empty()) continue;
    const auto& sum = sums_.at(n.in[0]);
    const Tensor& w = model_.tensors.at(g.values[n.in[1]].name);
    const int64_t per_tap = static_cast<int64_t>(sum.size()), per_row = w.numel() / w.shape()[0];
    const auto rows = s.of[n.in[1]][0].empty() ? std::vector<int64_t>{} : left(s.of[n.in[1]][0], removed);
    Tensor& target = after.tensors.at(g.values[to].name);
    float* mean = target.data<float>();
    target.mutate();
    const double sign = g.values[to].kind == Value::Kind::buffer ? -1 : 1;  // a bias takes what the sum has lost
    for (size_t r = 0; r < rows.size(); ++r) {
      double lost = 0;
      for (int64_t i = 0; i < per_row; ++i)
        if (const int64_t c = i % per_tap; goes(columns[c], removed))
          lost += w.data<float>()[rows[r] * per_row + i] * sum[c] / static_cast<double>(counts_.at(n.in[0]));
      mean[r] += static_cast<float>(sign * lost);
    }
    ++layers;
  }
  return layers;
}

}  // namespace vitrine::prune
