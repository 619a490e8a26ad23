// Sixteen integers and floats in an AVX-512 register, for qkernels.inc.h.
#pragma once
#pragma GCC diagnostic ignored "-Wuninitialized"  // of GCC 12 about its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "engine/cpu/qkernels.h"

namespace vitrine::cpu {
namespace {

inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }

struct I {
  __m512i r;
  static I load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  static I set(int32_t v) { return {_mm512_set1_epi32(v)}; }
  static I codes(const uint8_t* p, int64_t n) { return {_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_lanes(n), p))}; }
  void store_codes(uint8_t* p, int64_t n) const {
    if (n == kQOutputs)  // masked stores are slow on some machines
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(r));
    else
      _mm512_mask_cvtepi32_storeu_epi8(p, first_lanes(n), r);
  }
  I operator+(I b) const { return {_mm512_add_epi32(r, b.r)}; }
  I operator*(I b) const { return {_mm512_mullo_epi32(r, b.r)}; }
  I dot(const uint8_t* a, const uint8_t* b, const QLine* w) const {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a)), y = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b));
    const __m512i pairs = _mm512_cvtepu8_epi16(_mm256_set_m128i(_mm_unpackhi_epi8(x, y), _mm_unpacklo_epi8(x, y)));
    return {_mm512_add_epi32(r, _mm512_madd_epi16(pairs, _mm512_load_si512(w)))};
  }
};

struct F {
  __m512 r;
  static F load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static F set(float v) { return {_mm512_set1_ps(v)}; }
  static F from(I v) { return {_mm512_cvtepi32_ps(v.r)}; }
  static F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.r, b.r, c.r)}; }
  static F prelu(F v, F slope) {
    const __mmask16 others = _mm512_cmp_ps_mask(v.r, _mm512_setzero_ps(), _CMP_NGT_UQ);
    return {_mm512_mask_mul_ps(v.r, others, slope.r, v.r)};
  }
  static I round(F level, F max) {  // maxps gives its second operand where the first is NaN
    return {_mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(level.r, _mm512_setzero_ps()), max.r))};
  }
  void store(float* p, int64_t n) const { _mm512_mask_storeu_ps(p, first_lanes(n), r); }
};

}  // namespace
}  // namespace vitrine::cpu
