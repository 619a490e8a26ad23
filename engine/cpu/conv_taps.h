// Forward and grad_x as convolutions by taps (tap_conv.h), weights left open.
#pragma once
#include <vector>

#include "engine/cpu/conv.h"
#include "engine/cpu/tap_conv.h"

namespace vitrine::cpu {

inline TapConv forward_taps(const ConvShape& s, const float* x, float* y) {
  TapConv t{.x = x,
            .n = s.n,
            .h = s.h,
            .w = s.w,
            .c = s.c,
            .step_y = s.stride_h,
            .step_x = s.stride_w,
            .y = y,
            .oh = s.oh,
            .ow = s.ow,
            .y_image = s.oh * s.ow * s.o,
            .y_row = s.ow * s.o,
            .y_pixel = s.o,
            .groups = s.groups,
            .in = s.group_in(),
            .out = s.group_out()};
  for (int64_t ky = 0; ky < s.kh; ++ky)
    for (int64_t kx = 0; kx < s.kw; ++kx) t.taps.push_back({ky * s.dilation_h - s.pad_h, kx * s.dilation_w - s.pad_w});
  return t;
}

// grad_x falls apart into one convolution of g per phase (iy mod stride_h, ix mod stride_w), each with step 1, its own taps, and the
// pixels of x of that phase as its outputs. body(taps, hits): hits[i] = ky * kw + kx of tap i.
template <class Body>
void for_each_phase(const ConvShape& s, const float* g, float* gx, Body&& body) {
  for (int64_t py = 0; py < std::min(s.stride_h, s.h); ++py)
    for (int64_t px = 0; px < std::min(s.stride_w, s.w); ++px) {
      TapConv t{.x = g,
                .n = s.n,
                .h = s.oh,
                .w = s.ow,
                .c = s.o,
                .step_y = 1,
                .step_x = 1,
                .y = gx + (py * s.w + px) * s.c,
                .oh = (s.h - py + s.stride_h - 1) / s.stride_h,
                .ow = (s.w - px + s.stride_w - 1) / s.stride_w,
                .y_image = s.h * s.w * s.c,
                .y_row = s.stride_h * s.w * s.c,
                .y_pixel = s.stride_w * s.c,
                .groups = s.groups,
                .in = s.group_out(),
                .out = s.group_in()};
      std::vector<int64_t> hits;
      for (int64_t ky = 0; ky < s.kh; ++ky)
        for (int64_t kx = 0; kx < s.kw; ++kx) {
          const int64_t ty = py + s.pad_h - ky * s.dilation_h, tx = px + s.pad_w - kx * s.dilation_w;
          if (ty % s.stride_h || tx % s.stride_w) continue;
          t.taps.push_back({ty / s.stride_h, tx / s.stride_w});
          hits.push_back(ky * s.kw + kx);
        }
      body(t, hits);
    }
}

}  // namespace vitrine::cpu
