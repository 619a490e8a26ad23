// 3x3 convolution with stride 1 by Winograd's F(4x4, 3x3): a quarter of conv2d's multiplications, other last bits (order and error:
// engine/cpu/conv_fused.h). Differentiable: the gradient for x is the same operator with mirrored weights, that for w an operator of its
// own.
//   x [N,H,W,C]    w [O,3,3,C], or mirrored [C,3,3,O], read as [O,3,3,C] by w'[o,ky,kx,i] = w[i,2-ky,2-kx,o]    y [N,OH,OW,O]
#pragma once
#include "engine/ops/conv2d.h"

namespace vitrine {

struct WinogradAttrs : Attrs {
  int64_t pad_h = 1, pad_w = 1;  // 0 to 2
  int64_t mirrored = 0;
  void visit(AttrVisitor& v) override { v("pad_h", pad_h), v("pad_w", pad_w), v("mirrored", mirrored); }
};
Tensor conv2d_winograd(const Tensor& x, const Tensor& w, const WinogradAttrs& = {});

struct WinogradGradAttrs : Attrs {
  int64_t pad_h = 1, pad_w = 1;  // of the convolution
  void visit(AttrVisitor& v) override { v("pad_h", pad_h), v("pad_w", pad_w); }
};
Tensor conv2d_winograd_grad_w(const Tensor& x, const Tensor& g, const WinogradGradAttrs& = {});  // [O,3,3,C]; engine/cpu/winograd.h

// Whether the operator can take this convolution's place and is faster there. Does not depend on the batch.
bool pays_as_winograd(const Conv2dAttrs&, const Shape& x, const Shape& w, const Shape& y);

}  // namespace vitrine
