// Fused convolutions in a row, all but the last read by the next one alone: one operator, so that what lies between need not leave the
// cache. The bits are those of conv2d_fused, link by link; not differentiable. Made by with_chains (engine/graph/rewrite.h).
// Inputs: x [N,H,W,C], then of each link what conv2d_fused takes behind its x. Only the last link may add a residual.
#pragma once
#include "engine/ops/conv2d_fused.h"

namespace vitrine {

struct ConvChainAttrs : Attrs {
  static constexpr int64_t kMost = 8;
  std::vector<FusedConvAttrs> links;
  void visit(AttrVisitor&) override;
};
Tensor conv2d_chain(const Tensors& in, const ConvChainAttrs&);

// What each link's call would be given.
struct ChainLink {
  FusedConvAttrs* attrs;
  Meta x, y;
  Tensors more;  // the inputs behind x
};
std::vector<ChainLink> links_of(const Call&);
void run_by_links(const Call&);  // one call after the other, on any device

}  // namespace vitrine
