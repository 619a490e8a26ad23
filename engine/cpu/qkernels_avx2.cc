// AVX2 with FMA: codes are widened to 16 bits, whose products and sums of two are exact. 16 registers, 3 pixels times 1 block (12
// accumulators).
#pragma GCC diagnostic ignored "-Wuninitialized"  // of GCC 12 about its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "engine/cpu/qkernels.h"

namespace vitrine::cpu {
namespace {

struct I {
  __m256i r[2];
  static I load(const int32_t* p) {
    const auto* half = reinterpret_cast<const __m256i*>(p);
    return {{_mm256_loadu_si256(half), _mm256_loadu_si256(half + 1)}};
  }
  static I set(int32_t v) { return {{_mm256_set1_epi32(v), _mm256_set1_epi32(v)}}; }
  static I codes(const uint8_t* p, int64_t n) {
    uint8_t whole[16] = {};
    __builtin_memcpy(whole, p, static_cast<size_t>(n));
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(whole));
    return {{_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))}};
  }
  void store_codes(uint8_t* p, int64_t n) const {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(r[0], r[1]), 0xd8);
    uint8_t whole[16];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(whole),
                     _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    __builtin_memcpy(p, whole, static_cast<size_t>(n));
  }
  I operator+(I b) const { return {{_mm256_add_epi32(r[0], b.r[0]), _mm256_add_epi32(r[1], b.r[1])}}; }
  I operator*(I b) const { return {{_mm256_mullo_epi32(r[0], b.r[0]), _mm256_mullo_epi32(r[1], b.r[1])}}; }
  I dot(const uint8_t* a, const uint8_t* b, const QLine* w) const {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a)), y = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b));
    const auto* half = reinterpret_cast<const __m256i*>(w);
    return {{_mm256_add_epi32(r[0], _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(x, y)), _mm256_load_si256(half))),
             _mm256_add_epi32(r[1], _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_unpackhi_epi8(x, y)), _mm256_load_si256(half + 1)))}};
  }
};

struct F {
  __m256 r[2];
  static F load(const float* p) { return {{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}}; }
  static F set(float v) { return {{_mm256_set1_ps(v), _mm256_set1_ps(v)}}; }
  static F from(I v) { return {{_mm256_cvtepi32_ps(v.r[0]), _mm256_cvtepi32_ps(v.r[1])}}; }
  static F fma(F a, F b, F c) { return {{_mm256_fmadd_ps(a.r[0], b.r[0], c.r[0]), _mm256_fmadd_ps(a.r[1], b.r[1], c.r[1])}}; }
  static __m256 prelu(__m256 v, __m256 slope) {
    return _mm256_blendv_ps(_mm256_mul_ps(slope, v), v, _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GT_OQ));
  }
  static F prelu(F v, F slope) { return {{prelu(v.r[0], slope.r[0]), prelu(v.r[1], slope.r[1])}}; }
  static __m256i round(__m256 level, __m256 max) {  // maxps gives its second operand where the first is NaN
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(level, _mm256_setzero_ps()), max));
  }
  static I round(F level, F max) { return {{round(level.r[0], max.r[0]), round(level.r[1], max.r[1])}}; }
  void store(float* p, int64_t n) const { __builtin_memcpy(p, r, static_cast<size_t>(n) * 4); }
};

struct W {
  __m256i r[4];  // four outputs each
  static W load(const QLine* p) {
    const auto* q = reinterpret_cast<const __m128i*>(p);
    return {{_mm256_cvtepi8_epi16(_mm_load_si128(q)), _mm256_cvtepi8_epi16(_mm_load_si128(q + 1)),
             _mm256_cvtepi8_epi16(_mm_load_si128(q + 2)), _mm256_cvtepi8_epi16(_mm_load_si128(q + 3))}};
  }
};
struct X {
  __m256i r;
  static X load(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return {_mm256_cvtepu8_epi16(_mm_set1_epi32(four))};
  }
};
struct Acc {
  __m256i r[4];  // two sums per output
  static Acc zero() { return {{_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()}}; }
  static Acc load(const int32_t* p) {
    const auto* q = reinterpret_cast<const __m128i*>(p);
    return {{_mm256_cvtepu32_epi64(_mm_loadu_si128(q)), _mm256_cvtepu32_epi64(_mm_loadu_si128(q + 1)),
             _mm256_cvtepu32_epi64(_mm_loadu_si128(q + 2)), _mm256_cvtepu32_epi64(_mm_loadu_si128(q + 3))}};
  }
  void dot(X x, W w) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) r[i] = _mm256_add_epi32(r[i], _mm256_madd_epi16(x.r, w.r[i]));
  }
  I sum() const {  // the sums of two neighbours lie in the order 0 1 4 5 2 3 6 7
    return {{_mm256_permute4x64_epi64(_mm256_hadd_epi32(r[0], r[1]), 0xd8), _mm256_permute4x64_epi64(_mm256_hadd_epi32(r[2], r[3]), 0xd8)}};
  }
};

constexpr int kBlocks = 1, kPixels = 3;

}  // namespace
}  // namespace vitrine::cpu

#include "engine/cpu/qlanes_by_block.h"

#include "engine/cpu/qkernels.inc.h"

namespace vitrine::cpu {
const QKernels& qkernels_avx2() { return kQKernels; }
}  // namespace vitrine::cpu
