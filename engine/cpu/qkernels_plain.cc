// The kernels of integer convolutions on any machine: arrays of sixteen instead of registers.
#include <cmath>
#include <cstring>

#include "engine/cpu/qkernels.h"

namespace vitrine::cpu {
namespace {

#define EACH for (int i = 0; i < kQOutputs; ++i)

struct I {
  int32_t r[kQOutputs];
  static I load(const int32_t* p) {
    I v;
    EACH v.r[i] = p[i];
    return v;
  }
  static I set(int32_t x) {
    I v;
    EACH v.r[i] = x;
    return v;
  }
  static I codes(const uint8_t* p, int64_t n) {
    I v{};
    for (int64_t i = 0; i < n; ++i) v.r[i] = p[i];
    return v;
  }
  void store_codes(uint8_t* p, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) p[i] = static_cast<uint8_t>(r[i]);
  }
  // Parts of a sum may leave i32 where the sum does not: unsigned arithmetic wraps, like the registers of the other kernels.
  static int32_t wrap(uint32_t v) { return static_cast<int32_t>(v); }
  I operator+(const I& b) const {
    I v;
    EACH v.r[i] = wrap(static_cast<uint32_t>(r[i]) + static_cast<uint32_t>(b.r[i]));
    return v;
  }
  I operator*(const I& b) const {
    I v;
    EACH v.r[i] = wrap(static_cast<uint32_t>(r[i]) * static_cast<uint32_t>(b.r[i]));
    return v;
  }
  I dot(const uint8_t* a, const uint8_t* b, const QLine* w) const {
    int16_t weights[2 * kQOutputs];
    std::memcpy(weights, w, sizeof weights);
    I v;
    EACH v.r[i] = r[i] + a[i] * weights[2 * i] + b[i] * weights[2 * i + 1];
    return v;
  }
};

struct F {
  float r[kQOutputs];
  static F load(const float* p) {
    F v;
    EACH v.r[i] = p[i];
    return v;
  }
  static F set(float x) {
    F v;
    EACH v.r[i] = x;
    return v;
  }
  static F from(const I& x) {
    F v;
    EACH v.r[i] = static_cast<float>(x.r[i]);
    return v;
  }
  static F fma(const F& a, const F& b, const F& c) {
    F v;
    EACH v.r[i] = std::fma(a.r[i], b.r[i], c.r[i]);
    return v;
  }
  static F prelu(const F& x, const F& slope) {
    F v;
    EACH v.r[i] = x.r[i] > 0 ? x.r[i] : slope.r[i] * x.r[i];
    return v;
  }
  static I round(const F& level, const F& max) {
    I v;
    EACH v.r[i] = level.r[i] > 0 ? static_cast<int32_t>(std::rint(level.r[i] < max.r[i] ? level.r[i] : max.r[i])) : 0;
    return v;
  }
  void store(float* p, int64_t n) const { std::memcpy(p, r, static_cast<size_t>(n) * 4); }
};

struct W {
  const QLine* line;
  static W load(const QLine* p) { return {p}; }
};
struct X {
  const uint8_t* p;
  static X load(const uint8_t* p) { return {p}; }
};
struct Acc {
  I r;
  static Acc zero() { return {I::set(0)}; }
  static Acc load(const int32_t* p) { return {I::load(p)}; }
  void dot(X x, W w) {
    EACH for (int j = 0; j < 4; ++j) r.r[i] =
        I::wrap(static_cast<uint32_t>(r.r[i]) + static_cast<uint32_t>(x.p[j] * w.line->byte[4 * i + j]));
  }
  I sum() const { return r; }
};

constexpr int kBlocks = 1, kPixels = 1;

}  // namespace
}  // namespace vitrine::cpu

#include "engine/cpu/qlanes_by_block.h"

#include "engine/cpu/qkernels.inc.h"

namespace vitrine::cpu {
const QKernels& qkernels_plain() { return kQKernels; }
}  // namespace vitrine::cpu
