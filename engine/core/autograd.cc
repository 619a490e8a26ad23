// grad(): one reverse walk over the nodes that lead to y, newest first.
#include <algorithm>
#include <map>
#include <set>

#include "engine/core/op.h"

namespace vitrine {
namespace {

// Every node y depends on, newest first: the order of execution is a topological order.
std::vector<std::shared_ptr<Node>> nodes_behind(const Tensor& y) {
  std::set<Node*> seen;
  std::vector<std::shared_ptr<Node>> found, pending;
  if (y.impl()->node) pending.push_back(y.impl()->node);
  while (!pending.empty()) {
    auto node = std::move(pending.back());
    pending.pop_back();
    if (!seen.insert(node.get()).second) continue;
    for (const Tensor& t : node->in)
      if (t.impl()->node) pending.push_back(t.impl()->node);
    found.push_back(std::move(node));
  }
  std::sort(found.begin(), found.end(), [](auto& a, auto& b) { return a->sequence > b->sequence; });
  return found;
}

// The one operator that the walk itself needs; by name, because operators stand above this floor.
Tensor accumulate(const Tensor& a, const Tensor& b) {
  static const OpDef& add = op_named("add");
  return apply1(add, {}, {a, b});
}

class Walk {
 public:
  void add(const Tensor& t, const Tensor& gradient) {
    if (!gradient || !t.requires_grad()) return;
    CHECK(gradient.shape() == t.shape(), "gradient ", str(gradient.meta()), " for a value ", str(t.meta()));
    Tensor& slot = t.impl()->node ? of_node_[t.impl()->node.get()].resize_for(t.impl()->output) : of_leaf_[t.impl()];
    slot = slot ? accumulate(slot, gradient) : gradient;
  }

  void step(Node& node) {
    auto it = of_node_.find(&node);
    if (it == of_node_.end()) return;
    Tensors out_grads = std::move(it->second.grads);
    of_node_.erase(it);
    out_grads.resize(node.out.size());
    CHECK(!node.in.empty(), node.op->name, ": its history was consumed by an earlier grad()");
    CHECK(node.op->backward, node.op->name, " is not differentiable");
    Tensors in;
    std::vector<bool> wanted;
    for (size_t i = 0; i < node.in.size(); ++i) {
      CHECK(node.in[i].version() == node.versions[i], "input ", i, " of ", node.op->name, " was changed after it was used");
      in.push_back(node.in[i].detach());
      wanted.push_back(node.in[i].requires_grad());
    }
    for (size_t i = 0; i < node.out.size(); ++i)
      CHECK(node.out[i].version() == node.versions[node.in.size() + i], "output ", i, " of ", node.op->name,
            " was changed after it was made");
    Tensors grads = node.op->backward(Back{in, node.out, out_grads, node.attrs.get(), wanted});
    CHECK(grads.size() == in.size(), node.op->name, ": backward gave ", grads.size(), " gradients for ", in.size(), " inputs");
    for (size_t i = 0; i < grads.size(); ++i) add(node.in[i], grads[i]);
  }

  Tensor leaf(const Tensor& t) const {
    auto it = of_leaf_.find(t.impl());
    return it == of_leaf_.end() ? Tensor{} : it->second;
  }

 private:
  struct OfNode {
    Tensors grads;
    Tensor& resize_for(int output) {
      if (static_cast<int>(grads.size()) <= output) grads.resize(output + 1);
      return grads[output];
    }
  };
  std::map<Node*, OfNode> of_node_;
  std::map<Tensor::Impl*, Tensor> of_leaf_;
};

}  // namespace

Tensors grad(const Tensor& y, const Tensors& wrt, Tensor seed) {
  CHECK(y.requires_grad(), "grad: nothing that requires a gradient led to ", str(y.meta()));
  CHECK(!seed || seed.dtype() == y.dtype(), "grad: seed ", str(seed.meta()), " for a result ", str(y.meta()));
  for (const Tensor& t : wrt)
    CHECK(!t || !t.impl()->node, "grad: with respect to ", str(t.meta()), ", which is computed: only leaves keep their gradient");
  NoGrad quiet;
  Walk walk;
  walk.add(y, seed ? seed : Tensor::full(y.shape(), 1.0, y.dtype()).to(y.device()));
  auto nodes = nodes_behind(y);
  for (auto& node : nodes) {
    walk.step(*node);
    // The history is consumed: what only this node held is released now, not at the end.
    node->in.clear();
    node->out.clear();
    node.reset();
  }
  Tensors result;
  for (const Tensor& t : wrt) result.push_back(walk.leaf(t));
  return result;
}

}  // namespace vitrine
