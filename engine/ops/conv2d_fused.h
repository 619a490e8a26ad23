// Convolution for inference, with its surroundings; not differentiable. Made by engine/graph/fuse.h.
//   y = prelu((conv2d(affine(x), w) - mean) * scale + shift) + residual      exact arithmetic: engine/cpu/finish.h, conv_fused.h
// Inputs: x [N,H,W,C], w, shift [O], then what the attributes ask for:
//   before    mean, scale, shift [C] of x; padding stays zero
//   after     mean, scale [O]
//   prelu     slope [O]
//   residual  [N,OH,OW,O]
//   rounded   nothing more: y is bf16, rounded to nearest even
// x and w may be bf16: they are widened, or read as they are by a library in that precision (Mode).
// w is packed by conv2d_pack, or [O,kh,kw,C/groups] as it is: always if the convolution is depthwise (groups = C = O), and where a library
// will take it.
#pragma once
#include "engine/ops/conv2d.h"

namespace vitrine {

struct FusedConvAttrs : Conv2dAttrs {
  int64_t kh = 1, kw = 1;
  int64_t winograd = 0;  // 1: sums by F(4x4, 3x3); stride 1, no groups
  int64_t before = 0, after = 0, prelu = 0, residual = 0;
  int64_t rounded = 0;
  void visit(AttrVisitor&) override;
  size_t inputs() const { return static_cast<size_t>(3 + 3 * before + 2 * after + prelu + residual); }
};
Tensor conv2d_fused(const Tensors& in, const FusedConvAttrs&);

struct PackAttrs : Attrs {
  int64_t groups = 1, winograd = 0;
  void visit(AttrVisitor& v) override { v("groups", groups), v("winograd", winograd); }
};
// w [O,kh,kw,C/groups] -> [groups, ceil(O/groups/32), kh kw C/groups, 32], for Winograd [36, ceil(O/32), C, 32]; zeros beyond O.
Tensor conv2d_pack(const Tensor& w, const PackAttrs&);

}  // namespace vitrine
