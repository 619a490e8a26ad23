// AVX-512 without VNNI: codes are widened to 16 bits, whose products and sums of two are exact. 6 pixels times 2 blocks (24 accumulators).
#include "engine/cpu/qlanes_avx512.h"

namespace vitrine::cpu {
namespace {

struct W {
  __m512i r[2];  // eight outputs each
  static W load(const QLine* p) {
    const auto* half = reinterpret_cast<const __m256i*>(p);
    return {{_mm512_cvtepi8_epi16(_mm256_load_si256(half)), _mm512_cvtepi8_epi16(_mm256_load_si256(half + 1))}};
  }
};
struct X {
  __m512i r;
  static X load(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return {_mm512_cvtepu8_epi16(_mm256_set1_epi32(four))};
  }
};
struct Acc {
  __m512i r[2];  // two sums per output
  static Acc zero() { return {{_mm512_setzero_si512(), _mm512_setzero_si512()}}; }
  static Acc load(const int32_t* p) {
    const auto* half = reinterpret_cast<const __m256i*>(p);
    return {{_mm512_cvtepu32_epi64(_mm256_loadu_si256(half)), _mm512_cvtepu32_epi64(_mm256_loadu_si256(half + 1))}};
  }
  void dot(X x, W w) {
    r[0] = _mm512_add_epi32(r[0], _mm512_madd_epi16(x.r, w.r[0]));
    r[1] = _mm512_add_epi32(r[1], _mm512_madd_epi16(x.r, w.r[1]));
  }
  I sum() const {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    return {_mm512_add_epi32(_mm512_permutex2var_epi32(r[0], even, r[1]), _mm512_permutex2var_epi32(r[0], odd, r[1]))};
  }
};

constexpr int kBlocks = 2, kPixels = 6;

}  // namespace
}  // namespace vitrine::cpu

#include "engine/cpu/qkernels.inc.h"

namespace vitrine::cpu {
const QKernels& qkernels_avx512() { return kQKernels; }
}  // namespace vitrine::cpu
