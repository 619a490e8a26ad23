#include "engine/cpu/conv_fused.h"

#include <cstring>

#include "engine/core/parallel.h"
#include "engine/cpu/conv_dense.h"
#include "engine/cpu/conv_fused_reference.h"
#include "engine/cpu/conv_taps.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/winograd.h"

namespace vitrine::cpu {
namespace {

void direct(const Kernels& k, const FusedConv<float>& f) {
  TapConv t = forward_taps(f.s, f.x, f.y);
  t.panels = f.w, t.wide_panels = true, t.affine = f.affine, t.finish = &f.finish;
  run(k, t);
}

void depthwise(const Kernels& k, const FusedConv<float>& f) {
  const ConvShape& s = f.s;
  depthwise_forward(k, s, f.x, f.w, f.y);
  parallel_for(s.n * s.oh * s.ow, 16384 / std::min<int64_t>(16384, s.o) + 1,
               [&](int64_t begin, int64_t end) { k.finish(f.finish, f.y + begin * s.o, s.o, end - begin, s.o); });
}

}  // namespace

void conv2d_fused(const FusedConv<double>& f) { reference::conv2d_fused(f); }
void conv2d_fused(const FusedConv<float>& f) {
  if (isa() == Isa::plain) return reference::conv2d_fused(f);
  (f.winograd ? winograd : is_depthwise(f.s) ? depthwise : direct)(kernels(), f);
}

template <class T>
void pack_panels(const ConvShape& s, const T* w, T* panels) {
  const int64_t depth = s.kh * s.kw * s.group_in(), out = s.group_out(), per_group = chunk_count(out, kPanel);
  parallel_for(s.groups * per_group, 1, [&](int64_t p, int64_t) {
    const int64_t first = p % per_group * kPanel, group = p / per_group;
    T* to = panels + p * depth * kPanel;
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t j = 0; j < kPanel; ++j, ++to) *to = first + j < out ? w[(group * out + first + j) * depth + k] : T(0);
  });
}

// U = G w G^T, where the row of G for a point p is (1, p, p^2) / product of p - q over the other finite points q; infinity's is (0, 0, 1).
template <class T>
void pack_winograd(const ConvShape& s, const T* w, T* panels) {
  const double points[] = {0, kA, -kA, kB, -kB};
  double g[kPatch][3] = {};
  for (int p = 0; p < 5; ++p) {
    double scale = 1;
    for (int q = 0; q < 5; ++q)
      if (q != p) scale *= points[p] - points[q];
    g[p][0] = 1 / scale, g[p][1] = points[p] / scale, g[p][2] = points[p] * points[p] / scale;
  }
  g[5][2] = 1;
  const int64_t per_plane = chunk_count(s.o, kPanel), plane = per_plane * s.c * kPanel;
  parallel_for(per_plane * kPanel, 1, [&](int64_t o, int64_t) {
    T* to = panels + (o / kPanel * s.c) * kPanel + o % kPanel;
    for (int64_t i = 0; i < s.c; ++i, to += kPanel)
      for (int p = 0; p < kPlanes; ++p) {
        double sum = 0;
        for (int k = 0; k < 9 && o < s.o; ++k)
          sum += g[p / kPatch][k / 3] * g[p % kPatch][k % 3] * static_cast<double>(w[(o * 9 + k) * s.c + i]);
        to[p * plane] = static_cast<T>(sum);
      }
  });
}
template void pack_panels(const ConvShape&, const float*, float*);
template void pack_panels(const ConvShape&, const double*, double*);
template void pack_winograd(const ConvShape&, const float*, float*);
template void pack_winograd(const ConvShape&, const double*, double*);

}  // namespace vitrine::cpu
