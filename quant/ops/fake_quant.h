// The QuantFace fake-quantizer (Boutros et al., ICPR 2022), exactly as published: asymmetric, uniform, k bits, all arithmetic in f32 (in
// f64 for a tensor of f64).
//   n     = 2^k - 1
//   scale = n * (1 / max(hi - lo, 1e-8))                 levels per unit; rounded twice, as PyTorch divides a number by a tensor
//   zp    = rint(scale * lo) + 2^(k-1)                   half to even; not clamped
//   q     = clamp(rint(scale * x - zp), -2^(k-1), 2^(k-1) - 1)   multiply, subtract, then round: in this order
//   y     = (q + zp) / scale
// The gradient is straight-through: dy/dx = 1 everywhere, also outside [lo, hi]; none reaches the range. clip(), put before it in
// training, masks the gradient outside.
#pragma once
#include <cmath>

#include "engine/core/host_device.h"
#include "engine/core/op.h"

namespace vitrine::quant {

struct FakeQuantAttrs : Attrs {
  int64_t bits = 8;
  void visit(AttrVisitor& v) override { v("bits", bits); }
};

struct FakeQuantWeightAttrs : Attrs {
  int64_t bits = 8, per_channel = 1;  // one range per row of the first axis (output channel), or one for the whole tensor
  int64_t mse = 0;                    // 0: a range is that of its weights; 1: cut from it so that their squared error is least
  void visit(AttrVisitor& v) override { v("bits", bits), v("per_channel", per_channel), v("mse", mse); }
};

template <class T>
struct QuantParamsOf {
  T scale, zp, low, high;  // low = -2^(k-1), high = 2^(k-1) - 1
};
using QuantParams = QuantParamsOf<float>;

// Where the arithmetic above stands, once, for every back end.
VITRINE_HD inline float half_to_even(float v) { return ::rintf(v); }
VITRINE_HD inline double half_to_even(double v) { return ::rint(v); }
template <class T>
VITRINE_HD QuantParamsOf<T> quant_params_of(T lo, T hi, int64_t bits) {
  constexpr T kLeast = static_cast<T>(1e-8);
  const T half = static_cast<T>(int64_t{1} << (bits - 1)), range = hi - lo < kLeast ? kLeast : hi - lo;
  const T scale = (1 / range) * (2 * half - 1);
  return {scale, half_to_even(scale * lo) + half, -half, half - 1};
}
VITRINE_HD inline QuantParams quant_params(float lo, float hi, int64_t bits) { return quant_params_of<float>(lo, hi, bits); }
template <class T>
VITRINE_HD T quantize_code(T x, const QuantParamsOf<T>& p) {
  const T q = half_to_even(p.scale * x - p.zp);
  return q < p.low ? p.low : q > p.high ? p.high : q;
}
template <class T>
VITRINE_HD T dequantize(T q, const QuantParamsOf<T>& p) {
  return (q + p.zp) / p.scale;
}

Tensor fake_quant(const Tensor& x, const Tensor& range, int64_t bits);                        // range [2]: lo, hi of the whole tensor
Tensor fake_quant_weight(const Tensor& w, int64_t bits, bool per_channel, bool mse = false);  // ranges come from w itself
Tensor clip(const Tensor& x, const Tensor& range);                        // x limited to [lo, hi]; dy/dx = 1 inside, 0 outside
Tensor clip_grad(const Tensor& x, const Tensor& range, const Tensor& g);  // g where lo <= x <= hi, else 0

void check_bits(int64_t bits);                        // 2 to 16
void check_range(const Metas& in, size_t count = 2);  // `count` inputs: x, its range, ... of one dtype

}  // namespace vitrine::quant
