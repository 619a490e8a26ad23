// AVX-512: 32 registers, tiles of 2 x 7 pixels times 2 vectors (28 accumulators).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of GCC 12 about its own intrinsics
#include <immintrin.h>

#include <cstdint>

namespace vitrine::cpu {
namespace {

struct V {
  static constexpr int lanes = 16;
  __m512 r;
  using Mask = __mmask16;
  static Mask mask(int64_t count) { return static_cast<Mask>((1u << (count > 16 ? 16 : count < 0 ? 0 : count)) - 1); }  // the first lanes
  static V zero() { return {_mm512_setzero_ps()}; }
  static V load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static V load(const float* p, Mask m) { return {_mm512_maskz_loadu_ps(m, p)}; }
  static V broadcast(const float* p) { return {_mm512_set1_ps(*p)}; }
  static V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.r, b.r, c.r)}; }
  static V add(V a, V b) { return {_mm512_add_ps(a.r, b.r)}; }
  static V sub(V a, V b) { return {_mm512_sub_ps(a.r, b.r)}; }
  static V mul(V a, V b) { return {_mm512_mul_ps(a.r, b.r)}; }
  static V set(float v) { return {_mm512_set1_ps(v)}; }
  static V if_positive(V x, V yes, V no) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.r, _mm512_setzero_ps(), _CMP_GT_OQ), no.r, yes.r)};
  }
  void store(float* p) const { _mm512_storeu_ps(p, r); }
  void store(float* p, Mask m) const { _mm512_mask_storeu_ps(p, m, r); }

  static void transpose(V* v) {  // 16 x 16, in place: pairs, quadruples, then 128-bit quarters
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
      a[i] = _mm512_unpacklo_ps(v[i].r, v[i + 1].r);
      a[i + 1] = _mm512_unpackhi_ps(v[i].r, v[i + 1].r);
    }
    for (int i = 0; i < 16; i += 4)
      for (int h = 0; h < 2; ++h) {
        b[i + 2 * h] = _mm512_shuffle_ps(a[i + h], a[i + 2 + h], 0x44);
        b[i + 2 * h + 1] = _mm512_shuffle_ps(a[i + h], a[i + 2 + h], 0xee);
      }
    for (int i = 0; i < 4; ++i) {  // b[4q + i] holds columns i, 4 + i, 8 + i, 12 + i of rows 4q .. 4q + 3
      __m512 even_lo = _mm512_shuffle_f32x4(b[i], b[4 + i], 0x88), odd_lo = _mm512_shuffle_f32x4(b[i], b[4 + i], 0xdd);
      __m512 even_hi = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0x88), odd_hi = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0xdd);
      v[i].r = _mm512_shuffle_f32x4(even_lo, even_hi, 0x88);
      v[8 + i].r = _mm512_shuffle_f32x4(even_lo, even_hi, 0xdd);
      v[4 + i].r = _mm512_shuffle_f32x4(odd_lo, odd_hi, 0x88);
      v[12 + i].r = _mm512_shuffle_f32x4(odd_lo, odd_hi, 0xdd);
    }
  }
};

constexpr int kPixels = 7, kGrads = 14, kDepthwisePixels = 4, kGradVectors = 2;

}  // namespace
}  // namespace vitrine::cpu

#define TILES_WIDE(v, h) tile<v, h, 4>, tile<v, h, 5>, tile<v, h, 6>, tile<v, h, 7>
#define GRADS_WIDE(v)                                                                                                      \
  grad_tile<v, 5>, grad_tile<v, 6>, grad_tile<v, 7>, grad_tile<v, 8>, grad_tile<v, 9>, grad_tile<v, 10>, grad_tile<v, 11>, \
      grad_tile<v, 12>, grad_tile<v, 13>, grad_tile<v, 14>
#include "engine/cpu/kernels.inc.h"

namespace vitrine::cpu {
const Kernels& kernels_avx512() { return kKernels; }
}  // namespace vitrine::cpu
