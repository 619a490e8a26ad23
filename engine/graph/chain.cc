#include <map>

#include "engine/graph/rewrite.h"
#include "engine/ops/conv2d_chain.h"

namespace vitrine {
namespace {

struct Chainer {
  const Graph& g;
  const Readers readers{g};
  std::map<const GraphNode*, std::pair<ConvChainAttrs, std::vector<Id>>> begun{};  // by the node that is to go on

  const FusedConvAttrs& attrs(const GraphNode& n) const { return static_cast<FusedConvAttrs&>(*n.attrs); }
  Shape x(const GraphNode& n) const { return g.values[n.in[0]].meta.shape; }
  bool links(const GraphNode& n) const { return is(n, "conv2d_fused") && !attrs(n).winograd && !attrs(n).rounded; }
  bool depthwise(const GraphNode& n) const { return attrs(n).groups == x(n)[3] && g.values[n.out[0]].meta.shape[3] == x(n)[3]; }
  bool pointwise(const GraphNode& n) const { return attrs(n).kh * attrs(n).kw == 1 && attrs(n).groups == 1; }

  // The node that goes on with n's output: a depthwise one, or the 1x1 behind a depthwise one. The 1x1 before one begins a chain, so that
  // an inverted bottleneck is one, and what a residual adds lies between chains.
  const GraphNode* next(const GraphNode& n) const {
    const GraphNode* to = readers.sole(n.out[0]);
    if (!to || !links(n) || !links(*to) || attrs(n).residual || to->in[0] != n.out[0]) return nullptr;
    return depthwise(*to) || (depthwise(n) && pointwise(*to)) ? to : nullptr;
  }

  std::vector<Id> emit(Graph& copy, const GraphNode& n, const std::vector<Id>& in) {
    auto chain = begun.count(&n) ? begun.extract(&n).mapped() : std::pair<ConvChainAttrs, std::vector<Id>>{{}, {in[0]}};
    const GraphNode* to = chain.first.links.size() + 1 < ConvChainAttrs::kMost ? next(n) : nullptr;
    if (!to && chain.first.links.empty()) return copy_node(copy, n, in);
    chain.first.links.push_back(attrs(n));
    chain.second.insert(chain.second.end(), in.begin() + 1, in.end());
    if (!to) return copy.add_node(op_named("conv2d_chain"), std::make_shared<ConvChainAttrs>(chain.first), chain.second);
    begun[to] = std::move(chain);
    return {in[0]};  // stands for a value that nobody but `to` reads, which takes it from the chain
  }
};

}  // namespace

Graph with_chains(const Graph& g) {
  Chainer c{g};
  return rewrite(g, [&](Graph& copy, const GraphNode& n, const std::vector<Id>& in) { return c.emit(copy, n, in); });
}

}  // namespace vitrine
