// Loops that the quantizer's and the observer's kernels share.
#pragma once
#include <utility>

#include "quant/ops/fake_quant.h"

namespace vitrine::quant {

void quantize(const float* x, float* y, int64_t n, const QuantParams&);
void quantize(const double* x, double* y, int64_t n, const QuantParamsOf<double>&);

// Of fake_quant_weight: the range of one row of n weights. `spare` holds n floats.
QuantParams row_params(const float* w, float* spare, int64_t n, const FakeQuantWeightAttrs&);

// Widens [lo, hi] by x. NaN is ignored.
void extremes(const float* x, int64_t n, float* lo, float* hi);
void extremes(const double* x, int64_t n, double* lo, double* hi);

// Draws in the ends of [lo, hi] towards 0 while that lowers error(lo, hi): each end in turn, in 32 steps of an eighth of an octave, then
// once more round the best of these in steps of a 32nd.
template <class Error>
VITRINE_HD std::pair<float, float> shrunken(float lo, float hi, const Error& error) {
  constexpr float kEighth = 0.917004043f, k32nd = 0.978572062f;  // 2^(-1/8), 2^(-1/32)
  double best = error(lo, hi);
  auto search = [&](float* end, float from, float factor, int steps) {
    float keep = *end;
    for (*end = from; steps--; *end *= factor)
      if (double e = error(lo, hi); e < best) best = e, keep = *end;
    *end = keep;
  };
  for (float* end : {&hi, &lo}) search(end, *end * kEighth, kEighth, 32);
  for (float* end : {&hi, &lo}) search(end, *end / (k32nd * k32nd * k32nd), k32nd, 7);
  return {lo, hi};
}

}  // namespace vitrine::quant
