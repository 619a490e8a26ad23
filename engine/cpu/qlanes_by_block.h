// What qkernels.inc.h asks of neighbouring blocks, one block after the other; included behind I.
#pragma once
#include "engine/cpu/qkernels.h"

namespace vitrine::cpu {
namespace {

template <int Blocks>
void store_blocks(const I (&v)[Blocks], uint8_t* p) {
  for (int b = 0; b < Blocks; ++b) v[b].store_codes(p + b * kQOutputs, kQOutputs);
}

struct TapWeights {
  const QLine* block[2];
  static TapWeights load(const QLine* a, const QLine* b) { return {{a, b}}; }
};
struct TapSums {
  I sum[2];
  static TapSums begin(const I (&two)[2]) { return {{two[0], two[1]}}; }
  void dot(const uint8_t* a, const uint8_t* b, TapWeights w) {
    for (int i = 0; i < 2; ++i) sum[i] = sum[i].dot(a + i * kQOutputs, b + i * kQOutputs, w.block[i]);
  }
  void store(I* two) const { two[0] = sum[0], two[1] = sum[1]; }
};

inline int32_t sum_bytes(const uint8_t* x, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}

}  // namespace
}  // namespace vitrine::cpu
