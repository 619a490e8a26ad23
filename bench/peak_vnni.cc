#pragma GCC diagnostic ignored "-Wuninitialized"  // of GCC 12 about its own intrinsics
#include <immintrin.h>

#include "bench/peak.h"

namespace vitrine::bench {

int64_t dot_rounds_vnni(int64_t rounds, float* keep) {
  constexpr int kChains = 24;
  __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2), acc[kChains];
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_epi32(i);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) {
      acc[i] = _mm512_dpbusd_epi32(acc[i], a, b);
      asm("" : "+v"(acc[i]));  // each one stays a separate chain
    }
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) acc[0] = _mm512_add_epi32(acc[0], acc[i]);
  *keep = static_cast<float>(_mm512_reduce_or_epi32(acc[0]));
  return rounds * kChains * 64 * 2;
}

}  // namespace vitrine::bench
