// What the back ends make of a qconv2d's inputs before they start: its geometry, and the floats of its epilogue.
#pragma once
#include <vector>

#include "engine/cpu/conv.h"
#include "engine/cpu/qepilogue.h"
#include "quant/ops/qconv2d.h"
#include "quant/ops/quantize.h"

namespace vitrine::quant {

inline cpu::ConvShape conv_shape(const Shape& x, const Shape& w, const Shape& y, const Conv2dAttrs& a) {
  if (x.rank() == 2) return {.n = x[0], .h = 1, .w = 1, .c = x[1], .o = w[0], .kh = 1, .kw = 1, .oh = 1, .ow = 1};
  return {x[0], x[1],       x[2],       x[3],    w[0],    w[1],         w[2],         y[1],
          y[2], a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dilation_h, a.dilation_w, a.groups};
}

// The epilogue without what differs from call to call, `residual` and `second`. All tensors on the cpu; mult and second_mult are memory.
struct QLayer {
  Grid x;
  cpu::QEpilogue epilogue;
  QLayer(const QConv2dInputs<Tensor>& in, const QConv2dAttrs& a, std::vector<float>& mult, std::vector<float>& second_mult)
      : x(grid_of(*in.x_range, a.x_bits)) {
    cpu::QEpilogue& e = epilogue;
    e.mult = quotient(mult, *in.gain, x.scale, in.scale->data<float>()), e.add = in.shift->data<float>();
    e.slope = floats(in.slope), e.post_mult = floats(in.post_gain), e.post_add = floats(in.post_shift);
    if (a.residual_bits) {
      const Grid r = grid_of(*in.residual_range, a.residual_bits);
      e.residual_inv_scale = 1 / r.scale, e.residual_zero = r.zero;
    }
    if (a.out_bits) {
      const Grid y = grid_of(*in.out_range, a.out_bits);
      e.out_scale = y.scale, e.out_zero = y.zero, e.out_max = y.max;
    }
    if (a.second_bits) {
      const Grid z = grid_of(*in.second_range, a.second_bits);
      e.second_mult = quotient(second_mult, *in.second_gain, e.out_scale, nullptr), e.second_add = in.second_shift->data<float>();
      e.second_scale = z.scale, e.second_zero = z.zero, e.second_max = z.max;
    }
  }

 private:
  static const float* floats(const Tensor* t) { return t ? t->data<float>() : nullptr; }
  // numerator[o] / (a * b[o]) in f64, rounded once; b null: 1.
  static const float* quotient(std::vector<float>& out, const Tensor& numerator, float a, const float* b) {
    out.resize(numerator.numel());
    for (size_t o = 0; o < out.size(); ++o)
      out[o] = static_cast<float>(double{numerator.data<float>()[o]} / (double{a} * (b ? double{b[o]} : 1.0)));
    return out.data();
  }
};

}  // namespace vitrine::quant
