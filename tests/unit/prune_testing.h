// Shared by the pruning tests: small networks written as functions, and the law that every pruning must obey.
#pragma once
#include <gtest/gtest.h>
#include <algorithm>

#include <functional>

#include "engine/core/rng.h"
#include "engine/ops.h"
#include "nn/network.h"
#include "prune/plan.h"

namespace vitrine::prune {

// Makes parameters as a network asks for them.
class Net {
 public:
  Tensor param(const std::string& name, Shape shape, double low = -1, double high = 1, Value::Kind kind = Value::Kind::parameter) {
    auto [it, fresh] = place_.emplace(name, named.size());
    if (fresh) {
      Tensor t = Tensor::zeros(shape);
      for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(low + (high - low) * rng_.uniform());
      named.push_back({name, t, kind});
    }
    return named[it->second].tensor;
  }
  Tensor conv(const std::string& name, const Tensor& x, int64_t out, int64_t k, const Conv2dAttrs& a, bool bias = false) {
    Tensor y = conv2d(x, param(name + ".weight", {out, k, k, x.shape()[3] / a.groups}), a);
    return bias ? add(y, param(name + ".bias", {out})) : y;
  }
  Tensor conv(const std::string& name, const Tensor& x, int64_t out, int64_t k = 1, bool bias = false) {
    return conv(name, x, out, k, Conv2dAttrs(1, k / 2), bias);
  }
  Tensor bn(const std::string& name, const Tensor& x) {
    const Shape c{x.shape().back()};
    return batch_norm(x, param(name + ".weight", c), param(name + ".bias", c), param(name + ".running_mean", c, -1, 1, Value::Kind::buffer),
                      param(name + ".running_var", c, 0.5, 1.5, Value::Kind::buffer));
  }
  Tensor prelu(const std::string& name, const Tensor& x) { return vitrine::prelu(x, param(name + ".weight", {x.shape().back()}, 0, 0.5)); }
  Tensor fc(const std::string& name, const Tensor& x, int64_t out, bool bias = true) {
    return linear(x, param(name + ".weight", {out, x.shape()[1]}), bias ? param(name + ".bias", {out}) : Tensor{});
  }
  std::vector<NamedTensor> named;

 private:
  std::map<std::string, size_t> place_;
  Philox rng_{5};
};

using Forward = std::function<Tensor(Net&, const Tensor&)>;

inline Model make(const Shape& image, const Forward& forward) {
  Net net;
  Tensor x = Tensor::zeros(image);
  {
    DryRun dry;
    forward(net, x);
  }
  Model m;
  m.graph = trace(net.named, x, [&](const Tensor& in) { return forward(net, in); });
  for (auto& n : net.named) m.tensors[n.name] = n.tensor;
  return m;
}

// A known network, every parameter drawn anew: BatchNorm with statistics, slopes, gamma and beta that do something.
inline Model randomised(Model m) {
  Philox rng(11);
  for (auto& [name, t] : m.tensors) {
    const bool positive = name.ends_with("running_var") || name.find("prelu") != std::string::npos;
    const double scale = t.shape().rank() > 1 ? std::sqrt(3.0 / static_cast<double>(t.shape().product(1, t.shape().rank()))) : 0.7;
    for (int64_t i = 0; i < t.numel(); ++i)
      t.data<float>()[i] = static_cast<float>(positive ? 0.2 + rng.uniform() : scale * (2 * rng.uniform() - 1));
  }
  return m;
}
inline Model shapes_only(const std::string& network, const nn::NetworkOptions& o = {}) {
  return nn::to_model(*nn::make_network(network, o), network, o);
}

inline Model in_f64(Model m) {
  for (Value& v : m.graph.values)
    if (v.meta.dtype == Dtype::f32) v.meta.dtype = Dtype::f64;
  for (auto& [name, t] : m.tensors)
    if (t.dtype() == Dtype::f32) t = t.to(Dtype::f64);
  check(m);
  return m;
}

inline Tensor random_input(const Graph& g, Dtype dtype) {
  const Shape& s = g.values[g.inputs[0]].meta.shape;
  Tensor x = Tensor::zeros(s, Dtype::f64);
  Philox rng(3);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = 2 * rng.uniform() - 1;
  return x.to(Dtype::f32).to(dtype);  // the same numbers in both
}

// The full network with everything that makes or shifts the removed channels set to zero.
template <class T>
Model silenced(const Model& m, const Structure& s, const Removed& removed) {
  Model copy = clone(m);
  for (const Group& group : s.groups)
    for (const Member& member : group.members) {
      if (member.role == Role::in || member.role == Role::slope || member.role == Role::statistic) continue;
      Tensor t = copy.tensors.at(m.graph.values[member.tensor].name);
      const int64_t inner = t.shape().product(member.axis + 1, t.shape().rank());
      for (int64_t e = 0; e < t.numel(); ++e)
        if (const int c = s.of[member.tensor][member.axis][e / inner % t.shape()[member.axis]]; c >= 0 && removed[c]) t.data<T>()[e] = 0;
    }
  return copy;
}

// Every third channel of a group, beginning with the second.
inline Removed some_of(const Structure& s, const Group& group) {
  Removed removed(s.group_of.size());
  for (size_t k = 1; k < group.channels.size(); k += 3) removed[group.channels[k]] = true;
  return removed;
}

// Invariant Z: a pruned network computes what the full one does with the removed channels silenced. For every group that may lose
// channels; largest difference relative to the largest output.
template <class T>
void expect_zero_equivalence(const Model& m, double bound, const GroupOptions& options = {}) {
  const Structure s = find_groups(m.graph, options);
  const Tensor x = random_input(m.graph, m.graph.values[m.graph.inputs[0]].meta.dtype);
  int tried = 0;
  for (const Group& group : s.groups) {
    if (!group.fixed.empty() || group.channels.size() < 2) continue;
    ++tried;
    const Removed removed = some_of(s, group);
    const Model full = silenced<T>(m, s, removed), less = apply(m, s, removed);
    auto want = run(full.graph, full.tensors, {x})[0].template values<double>(),
         got = run(less.graph, less.tensors, {x})[0].template values<double>();
    const Channels& out = s.of[m.graph.outputs[0]].back();
    std::vector<double> kept;
    for (size_t i = 0; i < want.size(); ++i)
      if (out.empty() || out[i % out.size()] < 0 || !removed[out[i % out.size()]]) kept.push_back(want[i]);
    ASSERT_EQ(kept.size(), got.size()) << name(m.graph, group);
    double largest = 0, error = 0;
    for (size_t i = 0; i < kept.size(); ++i)
      largest = std::max(largest, std::abs(kept[i])), error = std::max(error, std::abs(kept[i] - got[i]));
    EXPECT_GT(largest, 0) << name(m.graph, group) << ": silent";
    EXPECT_LT(error / largest, bound) << name(m.graph, group);
  }
  EXPECT_GT(tried, 0);
}

inline void expect_zero_equivalence(const Model& m, const GroupOptions& options = {}) {
  expect_zero_equivalence<float>(m, 1e-5, options);
  expect_zero_equivalence<double>(in_f64(m), 1e-12, options);
}

// Uniform pruning; which channels go does not change any count.
inline Graph uniform(const Graph& g, double ratio, const GroupOptions& options = {}, int64_t round_to = 1) {
  const Structure s = find_groups(g, options);
  return narrowed(g, s, select(g, s, std::vector<double>(s.group_of.size()), {.ratio = ratio, .round_to = round_to}));
}
inline int64_t params(const Graph& g) { return count(g).params; }
inline int prunable(const Structure& s) {
  int n = 0;
  for (auto& group : s.groups) n += group.fixed.empty();
  return n;
}

}  // namespace vitrine::prune
