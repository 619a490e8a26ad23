// Dense and grouped forward and grad_x: both are convolutions of the tap engine, with weights packed for it on every call.
#include "engine/cpu/conv_dense.h"

#include <cstring>

#include "engine/core/parallel.h"
#include "engine/cpu/conv_taps.h"
#include "engine/cpu/scratch.h"

namespace vitrine::cpu {
namespace {

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

}  // namespace

void dense_forward(const Kernels& k, const ConvShape& s, const float* x, const float* w, float* y) {
  TapConv t = forward_taps(s, x, y);
  t.panels = pack_forward(k, s, w);
  run(k, t);
}

void dense_grad_x(const Kernels& k, const ConvShape& s, const float* g, const float* w, float* gx) {
  for_each_phase(s, g, gx, [&](TapConv& t, const std::vector<int64_t>& hits) {
    t.panels = pack_grad_x(k, s, w, hits);
    run(k, t);
  });
}

}  // namespace vitrine::cpu
