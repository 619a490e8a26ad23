// Loops that the quantizer's and the observer's kernels share.
#pragma once
#include <tuple>
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

// Ranges to try: candidate k has one end at from * factor^k, the other as it is.
struct Candidates {
  static constexpr int kMost = 32;
  float lo, hi;
  bool upper;  // which end
  float from, factor;
  int count;
  VITRINE_HD std::pair<float, float> at(int k) const {
    float end = from;
    while (k--) end *= factor;
    return upper ? std::pair{lo, end} : std::pair{end, hi};
  }
};

// Draws in the ends of [lo, hi] towards 0 while that lowers the error: each end in turn, in 32 steps of an eighth of an octave, then
// once more round the best of these in steps of a 32nd. errors(candidates) points to the error of each.
template <class Errors>
VITRINE_HD std::pair<float, float> shrunken_by(float lo, float hi, Errors&& errors) {
  constexpr float kEighth = 0.917004043f, k32nd = 0.978572062f;  // 2^(-1/8), 2^(-1/32)
  double best = errors(Candidates{lo, hi, true, hi, 1, 1})[0];
  auto search = [&](bool upper, float from, float factor, int count) {
    const double* e = errors(Candidates{lo, hi, upper, from, factor, count});
    float keep = upper ? hi : lo;
    for (int k = 0; k < count; ++k, from *= factor)
      if (e[k] < best) best = e[k], keep = from;
    (upper ? hi : lo) = keep;
  };
  search(true, hi * kEighth, kEighth, Candidates::kMost), search(false, lo * kEighth, kEighth, Candidates::kMost);
  search(true, hi / (k32nd * k32nd * k32nd), k32nd, 7), search(false, lo / (k32nd * k32nd * k32nd), k32nd, 7);
  return {lo, hi};
}
// The same by error(lo, hi), one candidate after the other.
template <class Error>
std::pair<float, float> shrunken(float lo, float hi, const Error& error) {
  double e[Candidates::kMost];
  return shrunken_by(lo, hi, [&](const Candidates& c) {
    for (int k = 0; k < c.count; ++k) e[k] = std::apply(error, c.at(k));
    return e;
  });
}

}  // namespace vitrine::quant
