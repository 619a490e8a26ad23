// The order law of conv_fused.h as plain loops: what the fast path must equal bit for bit. Used for f64 and on plain x86-64.
#pragma once
#include <cmath>
#include <vector>

#include "engine/cpu/conv_dense.h"
#include "engine/cpu/conv_fused.h"
#include "engine/cpu/conv_reference.h"
#include "engine/cpu/winograd.inc.h"

namespace vitrine::cpu::reference {

// A vector of one element.
template <class T>
struct Scalar {
  static constexpr int lanes = 1;
  T r;
  using Mask = bool;
  VITRINE_HD static Mask mask(int64_t count) { return count > 0; }
  VITRINE_HD static Scalar load(const T* p, Mask) { return {*p}; }
  VITRINE_HD static Scalar set(T v) { return {v}; }
  VITRINE_HD static Scalar fma(Scalar a, Scalar b, Scalar c) { return {std::fma(a.r, b.r, c.r)}; }
  VITRINE_HD static Scalar add(Scalar a, Scalar b) { return {a.r + b.r}; }
  VITRINE_HD static Scalar sub(Scalar a, Scalar b) { return {a.r - b.r}; }
  VITRINE_HD static Scalar mul(Scalar a, Scalar b) { return {a.r * b.r}; }
  VITRINE_HD static Scalar if_positive(Scalar x, Scalar yes, Scalar no) { return x.r > 0 ? yes : no; }
  VITRINE_HD void store(T* p, Mask) const { *p = r; }
};

// Panels back to the weights of conv.h.
template <class T>
std::vector<T> unpacked(const ConvShape& s, const T* panels) {
  const int64_t depth = s.kh * s.kw * s.group_in(), out = s.group_out(), per_group = (out + kPanel - 1) / kPanel;
  std::vector<T> w(s.w_numel());
  for (int64_t o = 0; o < s.o; ++o) {
    const int64_t panel = o / out * per_group + o % out / kPanel;
    for (int64_t k = 0; k < depth; ++k) w[o * depth + k] = panels[(panel * depth + k) * kPanel + o % out % kPanel];
  }
  return w;
}

// The 4 x 4 pixels of y from (n, oy, ox) on.
template <class T>
void winograd_tile(const FusedConv<T>& f, const Padded<T>& image, int64_t n, int64_t oy, int64_t ox) {
  const ConvShape& s = f.s;
  std::vector<T> patch(kPlanes * s.c), v(kPlanes * s.c), m(kPlanes * s.o);
  for (int64_t i = 0; i < kPlanes; ++i)
    std::copy_n(image.at(n, oy - s.pad_h + i / kPatch, ox - s.pad_w + i % kPatch), s.c, patch.data() + i * s.c);
  winograd_input<Scalar<T>>(WinogradInput<T>{patch.data(), kPatch * s.c, s.c, s.c, v.data(), s.c});
  const int64_t panels = (s.o + kPanel - 1) / kPanel;
  for (int64_t plane = 0; plane < kPlanes; ++plane)
    for (int64_t o = 0; o < s.o; ++o) {
      const T* w = f.w + (plane * panels + o / kPanel) * s.c * kPanel + o % kPanel;
      T sum = 0;
      for (int64_t i = 0; i < s.c; ++i) sum = std::fma(v[plane * s.c + i], w[i * kPanel], sum);
      m[plane * s.o + o] = sum;
    }
  winograd_output<Scalar<T>>(WinogradOutput<T>{m.data(), s.o, s.o, f.y + ((n * s.oh + oy) * s.ow + ox) * s.o, s.ow * s.o, s.o,
                                               std::min<int64_t>(kOut, s.oh - oy), std::min<int64_t>(kOut, s.ow - ox), &f.finish});
}

template <class T>
void conv2d_fused(const FusedConv<T>& f) {
  const ConvShape& s = f.s;
  std::vector<T> scaled;
  if (f.affine.mean) {
    scaled.resize(s.x_numel());
    affine_row<Scalar<T>>(f.affine, f.x, s.n * s.h * s.w, s.c, scaled.data(), s.c);
  }
  const T* x = f.affine.mean ? scaled.data() : f.x;
  if (f.winograd) {
    const Padded<T> image{x, s.h, s.w, s.c};
    const int64_t down = (s.oh + kOut - 1) / kOut;
    parallel_for(s.n * down, 1, [&](int64_t row, int64_t) {
      for (int64_t ox = 0; ox < s.ow; ox += kOut) winograd_tile(f, image, row / down, row % down * kOut, ox);
    });
    return;
  }
  conv2d(s, x, is_depthwise(s) ? f.w : unpacked(s, f.w).data(), f.y);
  for (int64_t i = 0; i < s.n * s.oh * s.ow * s.o; ++i) finished(f.finish, Scalar<T>{f.y[i]}, i % s.o, f.y + i, true).store(f.y + i, true);
}

}  // namespace vitrine::cpu::reference
