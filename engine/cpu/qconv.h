// Convolution and product on codes: u8 activations times s8 weights, exact i32 sums, and everything up to the next stored codes behind
// them. THE LAW is engine/cpu/qconv_reference.h; every instruction set and any number of threads give its bits.
//
//   x [n][h][w][c] u8 codes, real = (code - x_zero) / x_scale; a tap in the padding reads the code x_zero, so it adds nothing
//   weights [o][kh][kw][c / groups] s8 codes q with a zero per output, real = (q + zero[o]) / scale[o]; zero may lie outside of s8
//   acc[o] = sum over taps and inputs of (x - x_zero) * (q + zero[o])
//   v = fma(float(acc), mult[o], add[o])                                       float(): to nearest, half to even
//   v = v > 0 ? v : slope[o] * v                                               PReLU, if given
//   v = fma(float(residual - residual_zero), residual_inv_scale, v)            codes at the same place, if given
//   v = fma(v, post_mult[o], post_add[o])                                      if given
//   y = code(v, out_scale, out_zero, out_max), or v itself where y is float
//   second = code(fma(float(y - out_zero), second_mult[o], second_add[o]), second_scale, second_zero, second_max)   if given
//   code(v, scale, zero, max) = clamp(rint(fma(v, scale, float(zero))), 0, max), half to even, NaN to 0
// Scales of x, weights, BatchNorm and bias are in mult and add. A fully connected layer is a 1x1 convolution of n 1x1 images.
#pragma once
#include <cstdint>
#include <vector>

#include "engine/cpu/conv.h"

namespace vitrine::cpu {

struct QEpilogue {  // vectors of o floats; null: this step is absent
  const float *mult = nullptr, *add = nullptr;
  const float* slope = nullptr;
  const uint8_t* residual = nullptr;  // like y; may be y itself
  float residual_inv_scale = 0;
  int32_t residual_zero = 0;
  const float *post_mult = nullptr, *post_add = nullptr;
  float out_scale = 0;  // levels per unit; unused where y is float, like all below
  int32_t out_zero = 0, out_max = 255;
  uint8_t* second = nullptr;  // like y, on another grid
  const float *second_mult = nullptr, *second_add = nullptr;
  float second_scale = 0;
  int32_t second_zero = 0, second_max = 255;
};

// Weights in the kernels' own layout, made once when a model is loaded.
class QWeights {
 public:
  QWeights() = default;
  // bits: 2 to 8, codes lie in [-2^(bits-1), 2^(bits-1)). zero: o values or null (all 0), |zero| < 2^15. Of the shape only what describes
  // the weights is read. Throws Error where a code does not fit or a sum could leave i32 (255 * sum of |q + zero| >= 2^31).
  QWeights(const ConvShape&, int bits, const int8_t* codes, const int32_t* zero);

 private:
  friend void qconv(const ConvShape&, const QWeights&, const uint8_t*, int32_t, const QEpilogue&, uint8_t*);
  friend void qconv(const ConvShape&, const QWeights&, const uint8_t*, int32_t, const QEpilogue&, float*);
  std::vector<int8_t> codes_;
  std::vector<int32_t> zero_;
};

void qconv(const ConvShape&, const QWeights&, const uint8_t* x, int32_t x_zero, const QEpilogue&, uint8_t* y);
void qconv(const ConvShape&, const QWeights&, const uint8_t* x, int32_t x_zero, const QEpilogue&, float* y);

}  // namespace vitrine::cpu
