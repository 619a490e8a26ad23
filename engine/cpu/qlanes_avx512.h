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

// From lanes of four channels, those of each register side by side, to whole registers.
inline __m512i from_lanes(__m512i v) {
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
}
inline void store_blocks(const I (&v)[1], uint8_t* p) { v[0].store_codes(p, kQOutputs); }
inline void store_blocks(const I (&v)[2], uint8_t* p) {
  const __m512i words = _mm512_packus_epi32(v[0].r, v[1].r);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(from_lanes(_mm512_packus_epi16(words, words))));
}
inline void store_blocks(const I (&v)[4], uint8_t* p) {
  const __m512i bytes = _mm512_packus_epi16(_mm512_packus_epi32(v[0].r, v[1].r), _mm512_packus_epi32(v[2].r, v[3].r));
  _mm512_storeu_si512(p, from_lanes(bytes));
}

// Two blocks of channels, 0 to 31, in the order in which words are unpacked: 0-3 8-11 16-19 24-27, and the others.
struct TapWeights {
  __m512i low, high;
  static TapWeights of(__m512i a, __m512i b) { return {_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd)}; }
  static TapWeights load(const QLine* a, const QLine* b) { return of(_mm512_load_si512(a), _mm512_load_si512(b)); }
};
struct TapSums {
  __m512i low, high;
  static TapSums begin(const I (&two)[2]) {
    const TapWeights t = TapWeights::of(two[0].r, two[1].r);
    return {t.low, t.high};
  }
  static __m512i add(__m512i sum, __m512i x, __m512i w) {
#ifdef __AVX512VNNI__
    return _mm512_dpwssd_epi32(sum, x, w);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, w));
#endif
  }
  void dot(const uint8_t* a, const uint8_t* b, TapWeights w) {
    const __m512i x = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)));
    const __m512i y = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)));
    low = add(low, _mm512_unpacklo_epi16(x, y), w.low), high = add(high, _mm512_unpackhi_epi16(x, y), w.high);
  }
  void store(I* two) const {
    two[0].r = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high);
    two[1].r = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high);
  }
};

inline int32_t sum_bytes(const uint8_t* x, int64_t n) {
  __m512i sum = _mm512_setzero_si512();
  for (; n > 0; n -= 64, x += 64) {
    const __mmask64 lanes = n < 64 ? (uint64_t{1} << n) - 1 : ~uint64_t{0};
    sum = _mm512_add_epi64(sum, _mm512_sad_epu8(_mm512_maskz_loadu_epi8(lanes, x), _mm512_setzero_si512()));
  }
  return static_cast<int32_t>(_mm512_reduce_add_epi64(sum));
}

}  // namespace
}  // namespace vitrine::cpu
