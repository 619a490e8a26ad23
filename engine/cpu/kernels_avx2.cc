// AVX2 with FMA: 16 registers, tiles of 2 x 3 pixels times 2 vectors (12 accumulators).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of GCC 12 about its own intrinsics
#include <immintrin.h>

#include <cstdint>

namespace vitrine::cpu {
namespace {

struct V {
  static constexpr int lanes = 8;
  __m256 r;
  using Mask = __m256i;
  static Mask mask(int64_t count) {  // the first lanes
    int n = count > 8 ? 8 : static_cast<int>(count);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static V zero() { return {_mm256_setzero_ps()}; }
  static V load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static V load(const float* p, Mask m) { return {_mm256_maskload_ps(p, m)}; }
  static V broadcast(const float* p) { return {_mm256_broadcast_ss(p)}; }
  static V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.r, b.r, c.r)}; }
  static V add(V a, V b) { return {_mm256_add_ps(a.r, b.r)}; }
  static V sub(V a, V b) { return {_mm256_sub_ps(a.r, b.r)}; }
  static V mul(V a, V b) { return {_mm256_mul_ps(a.r, b.r)}; }
  static V set(float v) { return {_mm256_set1_ps(v)}; }
  static V if_positive(V x, V yes, V no) { return {_mm256_blendv_ps(no.r, yes.r, _mm256_cmp_ps(x.r, _mm256_setzero_ps(), _CMP_GT_OQ))}; }
  void store(float* p) const { _mm256_storeu_ps(p, r); }
  void store(float* p, Mask m) const { _mm256_maskstore_ps(p, m, r); }

  static void transpose(V* v) {  // 8 x 8, in place
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
      a[i] = _mm256_unpacklo_ps(v[i].r, v[i + 1].r);
      a[i + 1] = _mm256_unpackhi_ps(v[i].r, v[i + 1].r);
    }
    for (int i = 0; i < 8; i += 4)
      for (int h = 0; h < 2; ++h) {
        b[i + 2 * h] = _mm256_shuffle_ps(a[i + h], a[i + 2 + h], 0x44);
        b[i + 2 * h + 1] = _mm256_shuffle_ps(a[i + h], a[i + 2 + h], 0xee);
      }
    for (int i = 0; i < 4; ++i) {
      v[i].r = _mm256_permute2f128_ps(b[i], b[4 + i], 0x20);
      v[4 + i].r = _mm256_permute2f128_ps(b[i], b[4 + i], 0x31);
    }
  }
};

constexpr int kPixels = 3, kGrads = 6, kDepthwisePixels = 2, kGradVectors = 1;

}  // namespace
}  // namespace vitrine::cpu

#define TILES_WIDE(v, h) nullptr
#define GRADS_WIDE(v) grad_tile<v, 5>, grad_tile<v, 6>
#include "engine/cpu/kernels.inc.h"

namespace vitrine::cpu {
const Kernels& kernels_avx2() { return kKernels; }
}  // namespace vitrine::cpu
