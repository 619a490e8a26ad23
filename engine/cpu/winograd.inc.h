// The elementwise arithmetic of fused convolutions and of Winograd's F(4x4, 3x3), written once over a vector type V of elements T: the
// instruction sets' kernels, the plain loops and the CUDA kernels include it. In an anonymous namespace and free of the C++ library, see
// kernels.inc.h.
//
// F(4x4, 3x3) after Lavin & Gray (CVPR 2016), with the points 0, a, -a, b, -b, infinity for a = 5/8, b = 3/2: all coefficients of both
// transforms are exact in f32, and the error is a third of what the usual points 1 and 2 give.
#pragma once
#include "engine/core/host_device.h"
#include "engine/cpu/kernels.h"

namespace vitrine::cpu {
namespace {

constexpr float kA = 0.625f, kB = 1.5f;
constexpr int kPatch = 6, kOut = 4, kPlanes = kPatch * kPatch;

#define INLINE VITRINE_HD inline __attribute__((always_inline))
#define PRAGMA(text) _Pragma(#text)
#if defined(__CUDA_ARCH__)
#define UNROLL(n) PRAGMA(unroll n)
#elif defined(__CUDACC__)
#define UNROLL(n)
#else
#define UNROLL(n) PRAGMA(GCC unroll n)
#endif

template <class V, class T, class Mask>
INLINE V finished(const Finish<T>& f, V y, int64_t c, const T* at, Mask m) {
  if (f.affine.mean) y = V::mul(V::sub(y, V::load(f.affine.mean + c, m)), V::load(f.affine.scale + c, m));
  y = V::add(y, V::load(f.affine.shift + c, m));
  if (f.slope) y = V::if_positive(y, y, V::mul(V::load(f.slope + c, m), y));
  if (f.residual) y = V::add(y, V::load(f.residual + (at - f.y), m));
  return y;
}

template <class V, class T>
void affine_row(const Affine<T>& a, const T* x, int64_t pixels, int64_t channels, T* to, int64_t to_step) {
  for (int64_t p = 0; p < pixels; ++p, x += channels, to += to_step)
    for (int64_t c = 0; c < channels; c += V::lanes) {
      const auto m = V::mask(channels - c);
      const V scaled = V::mul(V::sub(V::load(x + c, m), V::load(a.mean + c, m)), V::load(a.scale + c, m));
      V::add(scaled, V::load(a.shift + c, m)).store(to + c, m);
    }
}

// The rows of B^T. Each is the polynomial with all points but one as zeros, so that products of values at the points interpolate.
template <class V>
INLINE void to_points(V* d) {
  constexpr float a2 = kA * kA, b2 = kB * kB;
  const V u = V::fma(V::set(-b2), d[2], d[4]), v = V::fma(V::set(-kA * b2), d[1], V::mul(V::set(kA), d[3]));
  const V p = V::fma(V::set(-a2), d[2], d[4]), q = V::fma(V::set(-kB * a2), d[1], V::mul(V::set(kB), d[3]));
  d[0] = V::fma(V::set(a2 * b2), d[0], V::fma(V::set(-(a2 + b2)), d[2], d[4]));
  d[5] = V::fma(V::set(a2 * b2), d[1], V::fma(V::set(-(a2 + b2)), d[3], d[5]));
  d[1] = V::add(u, v), d[2] = V::sub(u, v), d[3] = V::add(p, q), d[4] = V::sub(p, q);
}

// The rows of A^T: the powers 0 to 3 of the points.
template <class V>
INLINE void from_points(V* m) {
  constexpr float a2 = kA * kA, b2 = kB * kB;
  const V s1 = V::add(m[1], m[2]), d1 = V::sub(m[1], m[2]), s2 = V::add(m[3], m[4]), d2 = V::sub(m[3], m[4]);
  m[0] = V::add(m[0], V::add(s1, s2));
  m[1] = V::fma(V::set(kB), d2, V::mul(V::set(kA), d1));
  m[2] = V::fma(V::set(b2), s2, V::mul(V::set(a2), s1));
  m[3] = V::fma(V::set(b2 * kB), d2, V::fma(V::set(a2 * kA), d1, m[5]));
}

// The rows of A: what from_points does, backwards.
template <class V>
INLINE void to_powers(const V* g, V* z) {
  constexpr float a2 = kA * kA, b2 = kB * kB;
  const V e1 = V::fma(V::set(a2), g[2], g[0]), o1 = V::fma(V::set(a2 * kA), g[3], V::mul(V::set(kA), g[1]));
  const V e2 = V::fma(V::set(b2), g[2], g[0]), o2 = V::fma(V::set(b2 * kB), g[3], V::mul(V::set(kB), g[1]));
  z[0] = g[0], z[5] = g[3];
  z[1] = V::add(e1, o1), z[2] = V::sub(e1, o1), z[3] = V::add(e2, o2), z[4] = V::sub(e2, o2);
}

// Rows first, then columns.
template <class V, class T>
INLINE void input_at(const WinogradInput<T>& t, int64_t c, typename V::Mask m) {
  V rows[kPatch][kPatch];
  for (int r = 0; r < kPatch; ++r) {
    UNROLL(6)
    for (int k = 0; k < kPatch; ++k) rows[r][k] = V::load(t.x + r * t.x_row + k * t.x_pixel + c, m);
    to_points(rows[r]);
  }
  for (int k = 0; k < kPatch; ++k) {
    V column[kPatch];
    UNROLL(6)
    for (int r = 0; r < kPatch; ++r) column[r] = rows[r][k];
    to_points(column);
    UNROLL(6)
    for (int r = 0; r < kPatch; ++r) column[r].store(t.v + (r * kPatch + k) * t.v_plane + c, m);
  }
}

template <class V, class T>
INLINE void gradient_at(const WinogradGradient<T>& t, int64_t c, typename V::Mask m) {
  V rows[kOut][kPatch];
  for (int r = 0; r < kOut; ++r) {
    V g[kOut];
    UNROLL(4)
    for (int k = 0; k < kOut; ++k) g[k] = V::load(t.x + r * t.x_row + k * t.x_pixel + c, m);
    to_powers(g, rows[r]);
  }
  for (int k = 0; k < kPatch; ++k) {
    V column[kOut], z[kPatch];
    UNROLL(4)
    for (int r = 0; r < kOut; ++r) column[r] = rows[r][k];
    to_powers(column, z);
    UNROLL(6)
    for (int r = 0; r < kPatch; ++r) z[r].store(t.v + (r * kPatch + k) * t.v_plane + c, m);
  }
}

template <class V, bool Whole, class T>
INLINE void output_at(const WinogradOutput<T>& t, int64_t c, typename V::Mask m) {
  V rows[kPatch][kPatch];
  for (int r = 0; r < kPatch; ++r) {
    UNROLL(6)
    for (int k = 0; k < kPatch; ++k) rows[r][k] = V::load(t.m + (r * kPatch + k) * t.m_plane + c, m);
    from_points(rows[r]);
  }
  UNROLL(4)  // and no break: what is indexed by counted loops alone stays in a device's registers
  for (int k = 0; k < kOut; ++k) {
    if (!Whole && k >= t.cols) continue;
    V column[kPatch];
    UNROLL(6)
    for (int r = 0; r < kPatch; ++r) column[r] = rows[r][k];
    from_points(column);
    UNROLL(4)
    for (int r = 0; r < kOut; ++r) {
      if (!Whole && r >= t.rows) continue;
      T* at = t.y + r * t.y_row + k * t.y_pixel + c;
      finished(*t.finish, column[r], c, at, m).store(at, m);
    }
  }
}

template <class V, class T>
void winograd_input(const WinogradInput<T>& t) {
  for (int64_t c = 0; c < t.channels; c += V::lanes) input_at<V>(t, c, V::mask(t.channels - c));
}
template <class V, class T>
void winograd_gradient(const WinogradGradient<T>& t) {
  for (int64_t c = 0; c < t.channels; c += V::lanes) gradient_at<V>(t, c, V::mask(t.channels - c));
}
template <class V, class T>
void winograd_output(const WinogradOutput<T>& t) {
  const bool whole = t.rows == kOut && t.cols == kOut;
  for (int64_t c = 0; c < t.channels; c += V::lanes)
    whole ? output_at<V, true>(t, c, V::mask(t.channels - c)) : output_at<V, false>(t, c, V::mask(t.channels - c));
}

#undef INLINE
#undef UNROLL
#undef PRAGMA

}  // namespace
}  // namespace vitrine::cpu
