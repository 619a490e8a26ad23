#include "engine/cpu/conv_fused.h"

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

void depthwise(const Kernels& k, const FusedConv<float>& f) { depthwise_forward(k, f.s, f.x, f.w, f.y, &f.finish); }

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

WinogradG::WinogradG() {
  const double points[] = {0, kA, -kA, kB, -kB};
  for (int p = 0; p < 5; ++p) {
    double scale = 1;
    for (int q = 0; q < 5; ++q)
      if (q != p) scale *= points[p] - points[q];
    at[p][0] = 1 / scale, at[p][1] = points[p] / scale, at[p][2] = points[p] * points[p] / scale;
  }
  at[5][2] = 1;
}

namespace {

// to = row . (x0, x1, x2)
void combine(const double (&row)[3], const double* x0, const double* x1, const double* x2, double* to) {
  for (int j = 0; j < kPanel; ++j) to[j] = row[0] * x0[j] + row[1] * x1[j] + row[2] * x2[j];
}

// U = G w G^T for one input channel of a panel's outputs, columns of taps first; w [9][kPanel], U to to[p * plane].
template <class T>
void to_planes(const WinogradG& g, const double (*w)[kPanel], T* to, int64_t plane) {
  double half[kPatch][3][kPanel], u[kPanel];
  for (int r = 0; r < kPatch; ++r)
    for (int k = 0; k < 3; ++k) combine(g.at[r], w[k], w[3 + k], w[6 + k], half[r][k]);
  for (int p = 0; p < kPlanes; ++p) {
    const auto& row = half[p / kPatch];
    combine(g.at[p % kPatch], row[0], row[1], row[2], u);
    for (int j = 0; j < kPanel; ++j) to[p * plane + j] = static_cast<T>(u[j]);
  }
}

}  // namespace

template <class T>
void pack_winograd(const ConvShape& s, const T* w, T* panels, bool mirrored) {
  constexpr int64_t kBlock = 16;  // input channels read from one output's taps at once
  const WinogradG g;
  const int64_t per_plane = chunk_count(s.o, kPanel), plane = per_plane * s.c * kPanel, blocks = chunk_count(s.c, kBlock);
  const int64_t by_o = mirrored ? 1 : 9 * s.c, by_tap = mirrored ? -s.o : s.c, by_i = mirrored ? 9 * s.o : 1;
  const T* first = mirrored ? w + 8 * s.o : w;
  parallel_for(per_plane * blocks, 1, [&](int64_t task, int64_t) {
    const int64_t o = task / blocks * kPanel, i = task % blocks * kBlock, outputs = std::min<int64_t>(kPanel, s.o - o);
    double tile[kBlock][9][kPanel] = {};
    const int64_t count = std::min(kBlock, s.c - i);
    for (int64_t j = 0; j < outputs; ++j)
      for (int64_t k = 0; k < 9; ++k)
        for (int64_t c = 0; c < count; ++c) tile[c][k][j] = static_cast<double>(first[(o + j) * by_o + k * by_tap + (i + c) * by_i]);
    for (int64_t c = 0; c < count; ++c) to_planes(g, tile[c], panels + (o / kPanel * s.c + i + c) * kPanel, plane);
  });
}
template void pack_panels(const ConvShape&, const float*, float*);
template void pack_panels(const ConvShape&, const double*, double*);
template void pack_winograd(const ConvShape&, const float*, float*, bool);
template void pack_winograd(const ConvShape&, const double*, double*, bool);

}  // namespace vitrine::cpu
