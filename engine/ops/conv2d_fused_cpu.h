// A fused convolution's tensors as its cpu kernels take them.
#pragma once
#include "engine/cpu/conv_fused.h"
#include "engine/ops/conv2d_fused.h"

namespace vitrine {

// But for x and y, which are shapes here. `more`: the inputs behind x, weights packed.
template <class T>
cpu::FusedConv<T> fused_conv(const FusedConvAttrs& a, const Shape& x, const Shape& y, const Tensors& more) {
  size_t next = 2;
  auto optional = [&](int64_t given) -> const T* { return given ? more[next++].data<T>() : nullptr; };
  cpu::FusedConv<T> f{{x[0], x[1], x[2], x[3], y[3], a.kh, a.kw, y[1], y[2], a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dilation_h,
                       a.dilation_w, a.groups},
                      a.winograd != 0,
                      nullptr,
                      {},
                      more[0].data<T>(),
                      {},
                      nullptr};
  f.affine.mean = optional(a.before), f.affine.scale = optional(a.before), f.affine.shift = optional(a.before);
  f.finish.affine.mean = optional(a.after), f.finish.affine.scale = optional(a.after), f.finish.affine.shift = more[1].data<T>();
  f.finish.slope = optional(a.prelu), f.finish.residual = optional(a.residual);
  return f;
}

}  // namespace vitrine
