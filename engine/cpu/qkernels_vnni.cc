// AVX-512 with VNNI: 32 registers, tiles of 6 pixels times 4 blocks (24 accumulators).
#include "engine/cpu/qlanes_avx512.h"

namespace vitrine::cpu {
namespace {

struct W {
  __m512i r;
  static W load(const QLine* p) { return {_mm512_load_si512(p)}; }
};
struct X {
  __m512i r;
  static X load(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return {_mm512_set1_epi32(four)};
  }
};
struct Acc {
  __m512i r;
  static Acc zero() { return {_mm512_setzero_si512()}; }
  static Acc load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  void dot(X x, W w) { r = _mm512_dpbusd_epi32(r, x.r, w.r); }
  I sum() const { return {r}; }
};

constexpr int kBlocks = 4, kPixels = 6;

}  // namespace
}  // namespace vitrine::cpu

#include "engine/cpu/qkernels.inc.h"

namespace vitrine::cpu {
const QKernels& qkernels_vnni() { return kQKernels; }
}  // namespace vitrine::cpu
