// Positions in a tensor that is read with other strides than it is stored with: broadcasting and transposition. 32-bit, because
// divisions are what this costs: they are multiplications (Divisor), for fewer than 2^31 elements.
#pragma once
#include "engine/core/shape.h"
#include "engine/cuda/launch.cuh"

namespace vitrine::cuda {

template <int kInputs>
struct Strided {
  int rank = 0;
  Divisor extent[Shape::kMaxRank];
  uint32_t stride[kInputs][Shape::kMaxRank] = {};

  // Element i of the result, row-major, lies at at[k] in input k.
  __device__ void locate(uint32_t i, uint32_t (&at)[kInputs]) const {
    for (int k = 0; k < kInputs; ++k) at[k] = 0;
    for (int axis = Shape::kMaxRank - 1; axis >= 0; --axis) {  // unrolled, so that nothing is indexed in memory
      if (axis >= rank) continue;
      const uint32_t position = extent[axis].remainder(i);
      i = extent[axis].quotient(i);
      for (int k = 0; k < kInputs; ++k) at[k] += position * stride[k][axis];
    }
  }
};

// Axes that every input passes through as one are merged: [N,H,W,C] + [C] takes one division.
template <int kInputs>
Strided<kInputs> strided(const Shape& shape, const Shape (&strides)[kInputs]) {
  CHECK(shape.numel() < int64_t{1} << 31, "cuda: a strided read of ", shape, ": expected fewer than 2^31 elements");
  Strided<kInputs> s;
  int64_t extent[Shape::kMaxRank] = {};
  for (int axis = 0; axis < shape.rank(); ++axis) {
    bool merges = s.rank > 0;
    for (int k = 0; k < kInputs; ++k) merges = merges && s.stride[k][s.rank - 1] == strides[k][axis] * shape[axis];
    const int at = merges ? s.rank - 1 : s.rank++;
    extent[at] = (merges ? extent[at] : 1) * shape[axis];
    for (int k = 0; k < kInputs; ++k) s.stride[k][at] = static_cast<uint32_t>(strides[k][axis]);
  }
  for (int axis = 0; axis < s.rank; ++axis) s.extent[axis] = Divisor(extent[axis]);
  return s;
}

}  // namespace vitrine::cuda
