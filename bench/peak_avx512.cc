#pragma GCC diagnostic ignored "-Wuninitialized"  // of GCC 12 about its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "bench/peak.h"

namespace vitrine::bench {

int64_t fma_rounds_avx512(int64_t rounds, float* keep) {
  constexpr int kChains = 24;
  __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(1.0f), acc[kChains];
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) {
      acc[i] = _mm512_fmadd_ps(acc[i], a, b);
      asm("" : "+v"(acc[i]));  // each one stays a separate chain
    }
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  *keep = _mm512_reduce_add_ps(acc[0]);
  return rounds * kChains * 16 * 2;
}

float read_all_avx512(const float* p, int64_t n) {
  __m512 acc[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t i = 0; i < n; i += 64)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[j] = _mm512_add_ps(acc[j], _mm512_loadu_ps(p + i + 16 * j));
  return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(acc[0], acc[1]), _mm512_add_ps(acc[2], acc[3])));
}

}  // namespace vitrine::bench
