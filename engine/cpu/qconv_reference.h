// The law of qconv.h as plain loops: what every fast kernel must equal bit for bit. CUDA kernels call the epilogue as it stands here.
#pragma once
#include <cmath>
#include <cstdint>

#include "engine/core/host_device.h"
#include "engine/core/parallel.h"
#include "engine/cpu/qconv.h"

namespace vitrine::cpu::reference {

VITRINE_HD inline uint8_t quantize_code(float v, float scale, int32_t zero, int32_t max) {
  const float level = ::fmaf(v, scale, static_cast<float>(zero));
  if (!(level > 0)) return 0;  // also NaN
  return static_cast<uint8_t>(::rintf(level < static_cast<float>(max) ? level : static_cast<float>(max)));
}

// The steps from a sum to v; `at`: the element of y, of channel o.
VITRINE_HD inline float epilogue(const QEpilogue& e, int32_t acc, int64_t o, int64_t at) {
  float v = ::fmaf(static_cast<float>(acc), e.mult[o], e.add[o]);
  if (e.slope) v = v > 0 ? v : e.slope[o] * v;
  if (e.residual) v = ::fmaf(static_cast<float>(e.residual[at] - e.residual_zero), e.residual_inv_scale, v);
  if (e.post_mult) v = ::fmaf(v, e.post_mult[o], e.post_add[o]);
  return v;
}

VITRINE_HD inline void store(const QEpilogue&, float v, int64_t, int64_t at, float* y) { y[at] = v; }
VITRINE_HD inline void store(const QEpilogue& e, float v, int64_t o, int64_t at, uint8_t* y) {
  y[at] = quantize_code(v, e.out_scale, e.out_zero, e.out_max);
  if (!e.second) return;
  const float w = ::fmaf(static_cast<float>(y[at] - e.out_zero), e.second_mult[o], e.second_add[o]);
  e.second[at] = quantize_code(w, e.second_scale, e.second_zero, e.second_max);
}

// codes and zero as given to QWeights; T: uint8_t or float.
template <class T>
void qconv(const ConvShape& s, const int8_t* codes, const int32_t* zero, const uint8_t* x, int32_t x_zero, const QEpilogue& e, T* y) {
  const int64_t ci = s.group_in(), co = s.group_out();
  parallel_for(s.n * s.oh, 1, [&](int64_t row, int64_t) {
    const int64_t n = row / s.oh, oy = row % s.oh;
    for (int64_t ox = 0; ox < s.ow; ++ox)
      for (int64_t o = 0; o < s.o; ++o) {
        int32_t acc = 0;
        for (int64_t ky = 0; ky < s.kh; ++ky)
          for (int64_t kx = 0; kx < s.kw; ++kx) {
            const int64_t iy = oy * s.stride_h - s.pad_h + ky * s.dilation_h, ix = ox * s.stride_w - s.pad_w + kx * s.dilation_w;
            if (iy < 0 || iy >= s.h || ix < 0 || ix >= s.w) continue;
            const uint8_t* pixel = x + ((n * s.h + iy) * s.w + ix) * s.c + o / co * ci;
            const int8_t* w = codes + ((o * s.kh + ky) * s.kw + kx) * ci;
            for (int64_t i = 0; i < ci; ++i) acc += (pixel[i] - x_zero) * (w[i] + (zero ? zero[o] : 0));
          }
        const int64_t at = (row * s.ow + ox) * s.o + o;
        store(e, epilogue(e, acc, o, at), o, at, y);
      }
  });
}

}  // namespace vitrine::cpu::reference
