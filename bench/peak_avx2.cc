#include <immintrin.h>

#include "bench/peak.h"

namespace vitrine::bench {

int64_t fma_rounds_avx2(int64_t rounds, float* keep) {
  constexpr int kChains = 12;
  __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1.0f), acc[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      acc[i] = _mm256_fmadd_ps(acc[i], a, b);
      asm("" : "+x"(acc[i]));  // each one stays a separate chain
    }
#pragma GCC unroll 12
  for (int i = 1; i < kChains; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  *keep = _mm256_cvtss_f32(acc[0]);
  return rounds * kChains * 8 * 2;
}

float read_all_avx2(const float* p, int64_t n) {
  __m256 acc[8] = {};
  for (int64_t i = 0; i < n; i += 64)
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) acc[j] = _mm256_add_ps(acc[j], _mm256_loadu_ps(p + i + 8 * j));
  for (int j = 1; j < 8; ++j) acc[0] = _mm256_add_ps(acc[0], acc[j]);
  return _mm256_cvtss_f32(acc[0]);
}

}  // namespace vitrine::bench
