// The largest value of each window of an image, channel by channel.
//   x [N,H,W,C]   y [N,OH,OW,C]   OH = (H + 2 pad_h - kernel_h) / stride_h + 1, rounded down
// Taps outside of the image do not count; NaN counts as larger than any number.
#pragma once
#include "engine/core/op.h"

namespace vitrine {

struct PoolAttrs : Attrs {
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0;
  PoolAttrs() = default;
  explicit PoolAttrs(int64_t kernel, int64_t stride, int64_t pad = 0)  // the same on both axes
      : kernel_h(kernel), kernel_w(kernel), stride_h(stride), stride_w(stride), pad_h(pad), pad_w(pad) {}
  void visit(AttrVisitor&) override;
};

// The gradient goes to the first of a window's largest values, row by row, but to the last NaN if there are any; where windows overlap, an
// element adds theirs in the order of y.
Tensor max_pool(const Tensor& x, const PoolAttrs&);

}  // namespace vitrine
