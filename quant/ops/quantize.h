// Between floats and stored codes. A grid is what a range [lo, hi] with lo <= 0 <= hi and k bits (2 to 8) make of fake_quant's formula:
//   n = 2^k - 1    scale = fake_quant's    zero = -rint(scale * lo)    real = (code - zero) / scale    code u8 in 0 ... n
#pragma once
#include "quant/ops/fake_quant.h"

namespace vitrine::quant {

struct Grid {
  float scale;  // levels per unit
  int32_t zero, max;
};
VITRINE_HD inline Grid grid_of(const QuantParams& p) {
  return {p.scale, static_cast<int32_t>(p.high + 1 - p.zp), static_cast<int32_t>(p.high - p.low)};
}
Grid grid_of(const Tensor& range, int64_t bits);  // Error if the range is not finite or does not contain 0

Tensor quantize(const Tensor& x, const Tensor& range, int64_t bits);                     // f32 -> u8: the codes of fake_quant, NaN to 0
Tensor dequantize(const Tensor& codes, const Tensor& range, int64_t bits);               // u8 -> f32: the values of fake_quant
Tensor dequantize_weight(const Tensor& codes, const Tensor& scale, const Tensor& zero);  // u2 ... u8 [O,...] -> f32 (quant/format.h)

void check_code_bits(int64_t bits);                                  // 2 to 8
void check_vector(const Meta&, int64_t n, Dtype, const char* what);  // [n]
void verify_weight_zeros(const Tensor& scale, const Tensor& zero);   // elements: finite and not 0; below cpu::kQZeroLimit in magnitude
void verify_finite(const Tensor&, const char* what);                 // f32 elements

}  // namespace vitrine::quant
