// The QuantFace fake-quantizer (Boutros et al., ICPR 2022), exactly as published: asymmetric, uniform, k bits, all arithmetic in f32.
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

struct QuantParams {
  float scale, zp, low, high;  // low = -2^(k-1), high = 2^(k-1) - 1
};

// Where the arithmetic above stands, once, for every back end.
VITRINE_HD inline QuantParams quant_params(float lo, float hi, int64_t bits) {
  const float half = static_cast<float>(int64_t{1} << (bits - 1)), range = hi - lo < 1e-8f ? 1e-8f : hi - lo;
  const float scale = (1 / range) * (2 * half - 1);
  return {scale, ::rintf(scale * lo) + half, -half, half - 1};
}
VITRINE_HD inline float quantize_code(float x, const QuantParams& p) {
  const float q = ::rintf(p.scale * x - p.zp);
  return q < p.low ? p.low : q > p.high ? p.high : q;
}
VITRINE_HD inline float dequantize(float q, const QuantParams& p) { return (q + p.zp) / p.scale; }

Tensor fake_quant(const Tensor& x, const Tensor& range, int64_t bits);                        // range [2]: lo, hi of the whole tensor
Tensor fake_quant_weight(const Tensor& w, int64_t bits, bool per_channel, bool mse = false);  // ranges come from w itself
Tensor clip(const Tensor& x, const Tensor& range);                        // x limited to [lo, hi]; dy/dx = 1 inside, 0 outside
Tensor clip_grad(const Tensor& x, const Tensor& range, const Tensor& g);  // g where lo <= x <= hi, else 0

void check_bits(int64_t bits);                        // 2 to 16
void check_range(const Metas& in, size_t count = 2);  // `count` inputs: x, its range, ... of one dtype

}  // namespace vitrine::quant
