// What a fused convolution does besides its sums, per channel, each operation rounded, in this order:
//   before  x = (x - mean) * scale + shift; what lies outside of the image stays zero
//   after   y = (sum - mean) * scale    unless mean is null
//           y = y + shift
//           y = y > 0 ? y : slope * y   unless slope is null
//           y = y + residual            unless residual is null
// (x - mean) * scale + shift is what batch_norm computes, to the bit.
#pragma once
#include <cstdint>

namespace vitrine::cpu {

template <class T>
struct Affine {
  const T *mean = nullptr, *scale = nullptr, *shift = nullptr;  // per channel; all null: nothing to do
};

template <class T>
struct Finish {
  Affine<T> affine;  // shift is never null
  const T* slope = nullptr;
  const T* residual = nullptr;  // laid out like y
  const T* y = nullptr;         // the first element of the whole output: where residual[0] is added

  Finish from_channel(int64_t c) const {
    Finish f = *this;
    if (f.affine.mean) f.affine.mean += c, f.affine.scale += c;
    f.affine.shift += c;
    if (f.slope) f.slope += c;
    return f;
  }
};

}  // namespace vitrine::cpu
