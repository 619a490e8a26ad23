// 2-D convolution and its two gradients: three operators, each differentiable through the other two.
//   x [N,H,W,C]    w [O,kh,kw,C/groups]    y [N,OH,OW,O]    OH = (H + 2 pad_h - dilation_h (kh - 1) - 1) / stride_h + 1
// f32 or f64, or in part bf16: sums are then taken in the other's dtype, or in f32 (cast.h), y has the dtype of x, the gradient of x that
// of g, and the gradient of w that of the sums. The order of summation is part of the definition: engine/cpu/conv.h.
#pragma once
#include "engine/core/op.h"

namespace vitrine {

struct Conv2dAttrs : Attrs {
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;
  Conv2dAttrs() = default;
  explicit Conv2dAttrs(int64_t stride, int64_t pad = 0, int64_t groups = 1, int64_t dilation = 1)  // the same on both axes
      : stride_h(stride), stride_w(stride), pad_h(pad), pad_w(pad), dilation_h(dilation), dilation_w(dilation), groups(groups) {}
  void visit(AttrVisitor&) override;
};
struct Conv2dGradXAttrs : Conv2dAttrs {
  int64_t h = 0, w = 0;  // of x: the output size alone does not tell
  void visit(AttrVisitor&) override;
};
struct Conv2dGradWAttrs : Conv2dAttrs {
  int64_t kh = 0, kw = 0;  // of the weights
  void visit(AttrVisitor&) override;
};

Tensor conv2d(const Tensor& x, const Tensor& w, const Conv2dAttrs& = {});
Tensor conv2d_grad_x(const Tensor& g, const Tensor& w, const Conv2dAttrs&, int64_t h, int64_t width);  // [N,h,width,C]
Tensor conv2d_grad_w(const Tensor& x, const Tensor& g, const Conv2dAttrs&, int64_t kh, int64_t kw);    // [O,kh,kw,C/groups]

}  // namespace vitrine
