// What happens to the exact sums of an integer layer; the steps are the law in qconv.h.
#pragma once
#include <cstdint>

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

}  // namespace vitrine::cpu
