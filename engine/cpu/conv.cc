#include "engine/cpu/conv.h"

#include <cstring>

#include "engine/core/parallel.h"
#include "engine/cpu/conv_reference.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/scratch.h"
#include "engine/cpu/tap_conv.h"

namespace vitrine::cpu {
namespace {

const Kernels& kernels() { return isa() == Isa::avx512 ? kernels_avx512() : kernels_avx2(); }

// Panels for y: output o's inputs (ky, kx, i) are contiguous, so they are transposed.
float* pack_forward(const Kernels& k, const ConvShape& s, const float* w) {
  const int64_t depth = s.kh * s.kw * s.group_in(), out = s.group_out(), size = panel_floats(k, depth, out);
  float* panels = scratch(Slot::weights, s.groups * size);
  const int64_t wide = 2 * k.lanes, per_group = (out + wide - 1) / wide;
  parallel_for(s.groups * per_group, 1, [&](int64_t p, int64_t) {
    const int64_t group = p / per_group, o = p % per_group * wide;
    pack_rows(k, w + (group * out + o) * depth, depth, std::min(wide, out - o), depth, panels + group * size + o * depth);
  });
  return panels;
}

void forward(const Kernels& k, const ConvShape& s, const float* x, const float* w, float* y) {
  TapConv t{x, s.n, s.h, s.w, s.c, s.stride_h, s.stride_w, {}, y, s.oh, s.ow, s.oh * s.ow * s.o, s.ow * s.o, s.o,
            s.groups, s.group_in(), s.group_out(), pack_forward(k, s, w)};
  for (int64_t ky = 0; ky < s.kh; ++ky)
    for (int64_t kx = 0; kx < s.kw; ++kx) t.taps.push_back({ky * s.dilation_h - s.pad_h, kx * s.dilation_w - s.pad_w});
  run(k, t);
}

// Panels for gx: row (tap, o) of the panel of inputs i is contiguous in w already.
float* pack_grad_x(const Kernels& k, const ConvShape& s, const float* w, const std::vector<int64_t>& taps) {
  const int64_t in = s.group_in(), out = s.group_out(), count = static_cast<int64_t>(taps.size()), depth = count * out;
  const int64_t size = panel_floats(k, depth, in), wide = 2 * k.lanes, per_group = (in + wide - 1) / wide;
  float* panels = scratch(Slot::weights, s.groups * size);
  parallel_for(s.groups * per_group, 1, [&](int64_t p, int64_t) {
    const int64_t group = p / per_group, i = p % per_group * wide, lanes = std::min(wide, in - i);
    const int64_t columns = lanes > k.lanes ? wide : k.lanes;
    float* to = panels + group * size + i * depth;
    for (int64_t tap : taps)
      for (int64_t o = group * out; o < (group + 1) * out; ++o, to += columns) {
        std::memcpy(to, w + (o * s.kh * s.kw + tap) * in + i, lanes * 4);
        std::memset(to + lanes, 0, (columns - lanes) * 4);
      }
  });
  return panels;
}

int64_t floor_mod(int64_t a, int64_t b) { return (a % b + b) % b; }

// The pixels of x with iy = py and ix = px modulo the stride: a convolution of g with step 1 and the taps that hit.
void grad_x_phase(const Kernels& k, const ConvShape& s, const float* g, const float* w, float* gx, int64_t py, int64_t px) {
  TapConv t{g, s.n, s.oh, s.ow, s.o, 1, 1, {}, gx + (py * s.w + px) * s.c, (s.h - py + s.stride_h - 1) / s.stride_h,
            (s.w - px + s.stride_w - 1) / s.stride_w, s.h * s.w * s.c, s.stride_h * s.w * s.c, s.stride_w * s.c,
            s.groups, s.group_out(), s.group_in(), nullptr};
  std::vector<int64_t> hits;
  for (int64_t ky = 0; ky < s.kh; ++ky)
    for (int64_t kx = 0; kx < s.kw; ++kx) {
      const int64_t ty = py + s.pad_h - ky * s.dilation_h, tx = px + s.pad_w - kx * s.dilation_w;
      if (floor_mod(ty, s.stride_h) || floor_mod(tx, s.stride_w)) continue;
      t.taps.push_back({ty / s.stride_h, tx / s.stride_w});
      hits.push_back(ky * s.kw + kx);
    }
  t.panels = pack_grad_x(k, s, w, hits);
  run(k, t);
}

}  // namespace

void conv2d(const ConvShape& s, const double* x, const double* w, double* y) { reference::conv2d(s, x, w, y); }
void conv2d_grad_x(const ConvShape& s, const double* g, const double* w, double* gx) { reference::conv2d_grad_x(s, g, w, gx); }
void conv2d_grad_w(const ConvShape& s, const double* x, const double* g, double* gw) { reference::conv2d_grad_w(s, x, g, gw); }

void conv2d(const ConvShape& s, const float* x, const float* w, float* y) {
  if (isa() == Isa::plain) return reference::conv2d(s, x, w, y);
  forward(kernels(), s, x, w, y);
}

void conv2d_grad_x(const ConvShape& s, const float* g, const float* w, float* gx) {
  if (isa() == Isa::plain) return reference::conv2d_grad_x(s, g, w, gx);
  for (int64_t py = 0; py < std::min(s.stride_h, s.h); ++py)
    for (int64_t px = 0; px < std::min(s.stride_w, s.w); ++px) grad_x_phase(kernels(), s, g, w, gx, py, px);
}

void conv2d_grad_w(const ConvShape& s, const float* x, const float* g, float* gw) { reference::conv2d_grad_w(s, x, g, gw); }

}  // namespace vitrine::cpu
