// The register kernels, written once over a vector type V; included by kernels_avx2.cc and kernels_avx512.cc after they define V, kPixels
// and kGrads. Everything is in an anonymous namespace and nothing of the C++ library is used: code compiled for one instruction set must
// not be merged by the linker with code that runs on a lesser machine.
#pragma once
#include "engine/cpu/kernels.h"
#include "engine/cpu/winograd.inc.h"

namespace vitrine::cpu {
namespace {

constexpr int64_t kLanes = V::lanes;

#define UNROLL _Pragma("GCC unroll 16")

template <int Vectors>
struct Masks {
  V::Mask m[Vectors];
  explicit Masks(int64_t count) { UNROLL for (int v = 0; v < Vectors; ++v) m[v] = V::mask(count - v * kLanes); }
};

template <int Vectors, int Halves, int Pixels>
void tile(const Tile& t) {
  const Masks<Vectors> masks(t.outputs);
  V acc[Halves][Pixels][Vectors];
  UNROLL for (int h = 0; h < Halves; ++h) UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v) acc[h][p][v] =
      V::zero();
  if (t.resume)
    UNROLL for (int h = 0; h < Halves; ++h) UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v) acc[h][p][v] =
        V::load(t.y[h] + p * t.y_step + v * kLanes, masks.m[v]);
  // The lines of y are asked for now, so that they have arrived when the sums are stored.
  UNROLL for (int h = 0; h < Halves; ++h) UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v)
      __builtin_prefetch(t.y[h] + p * t.y_step + v * kLanes, 1);
  const int64_t step = t.x_step, w_step = t.w_step;
  const float* w = t.w;
  for (int64_t r = 0; r < t.run_count; ++r) {
    const float* x0 = t.x[0] + t.runs[r];
    const float* x1 = Halves == 2 ? t.x[1] + t.runs[r] : x0;
#pragma GCC unroll 4
    for (int64_t k = t.run_length; k > 0; --k) {
      V wv[Vectors];
      UNROLL for (int v = 0; v < Vectors; ++v) wv[v] = V::load(w + v * kLanes);
      UNROLL for (int h = 0; h < Halves; ++h) UNROLL for (int p = 0; p < Pixels; ++p) {
        V xv = V::broadcast((h ? x1 : x0) + p * step);
        UNROLL for (int v = 0; v < Vectors; ++v) acc[h][p][v] = V::fma(xv, wv[v], acc[h][p][v]);
      }
      w += w_step;
      ++x0, ++x1;
    }
  }
  if (t.finish)
    UNROLL for (int h = 0; h < Halves; ++h) UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v) acc[h][p][v] =
        finished(*t.finish, acc[h][p][v], v * kLanes, t.y[h] + p * t.y_step + v * kLanes, masks.m[v]);
  UNROLL for (int h = 0; h < Halves; ++h) UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v) acc[h][p][v]
      .store(t.y[h] + p * t.y_step + v * kLanes, masks.m[v]);
}

template <int Vectors, int Outputs>
void grad_tile(const GradTile& t) {
  const Masks<Vectors> masks(t.lanes);
  V acc[Outputs][Vectors];
  UNROLL for (int j = 0; j < Outputs; ++j) UNROLL for (int v = 0; v < Vectors; ++v) acc[j][v] = V::zero();
  for (int64_t image = 0; image < t.images; ++image)
    for (int64_t row = 0; row < t.rows; ++row) {
      const float* x = t.x + image * t.x_image + row * t.x_row;
      const float* g = t.g + image * t.g_image + row * t.g_row;
#pragma GCC unroll 2
      for (int64_t p = t.pixels; p > 0; --p) {
        V xv[Vectors];
        UNROLL for (int v = 0; v < Vectors; ++v) xv[v] = V::load(x + v * kLanes), __builtin_prefetch(x + t.x_ahead + v * kLanes, 0, 2);
        __builtin_prefetch(g + t.g_ahead, 0, 2), __builtin_prefetch(g + t.g_ahead + Outputs - 1, 0, 2);
        UNROLL for (int j = 0; j < Outputs; ++j) {
          V gv = V::broadcast(g + j);
          UNROLL for (int v = 0; v < Vectors; ++v) acc[j][v] = V::fma(gv, xv[v], acc[j][v]);
        }
        x += t.x_step, g += t.g_step;
      }
    }
  UNROLL for (int j = 0; j < Outputs; ++j) UNROLL for (int v = 0; v < Vectors; ++v) {
    float* dw = t.dw + j * t.dw_step + v * kLanes;
    if (t.add) acc[j][v] = V::add(V::load(dw, masks.m[v]), acc[j][v]);
    acc[j][v].store(dw, masks.m[v]);
  }
}

template <int Pixels, int Vectors>
void depthwise_tile(const DepthwiseRow& t, int64_t pixel, int64_t c) {
  const Masks<Vectors> masks(t.channels - c);
  V acc[Pixels][Vectors];
  UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v) acc[p][v] = V::zero();
  for (int64_t tap = 0; tap < t.taps; ++tap) {
    const float* x = t.x[tap] + pixel * t.x_step + c;
    UNROLL for (int v = 0; v < Vectors; ++v) {
      // Whole blocks of vectors need no mask; a last single vector does.
      V wv = Vectors > 1 ? V::load(t.w[tap] + c + v * kLanes) : V::load(t.w[tap] + c, masks.m[0]);
      UNROLL for (int p = 0; p < Pixels; ++p) {
        const float* at = x + p * t.x_step + v * kLanes;
        acc[p][v] = V::fma(Vectors > 1 ? V::load(at) : V::load(at, masks.m[0]), wv, acc[p][v]);
      }
    }
  }
  UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v) {
    float* y = t.y + (pixel + p) * t.y_step + c + v * kLanes;
    if (t.finish) acc[p][v] = finished(*t.finish, acc[p][v], c + v * kLanes, y, masks.m[v]);
    if (Vectors > 1)
      acc[p][v].store(y);
    else
      acc[p][v].store(y, masks.m[v]);
  }
}

template <int Pixels>
void depthwise_pixels(const DepthwiseRow& t, int64_t pixel) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= t.channels; c += 4 * kLanes) depthwise_tile<Pixels, 4>(t, pixel, c);
  for (; c < t.channels; c += kLanes) depthwise_tile<Pixels, 1>(t, pixel, c);
}

void depthwise_row(const DepthwiseRow& t) {
  int64_t p = 0;
  for (; p + kDepthwisePixels <= t.pixels; p += kDepthwisePixels) depthwise_pixels<kDepthwisePixels>(t, p);
  for (; p + 2 <= t.pixels; p += 2) depthwise_pixels<2>(t, p);
  for (; p < t.pixels; ++p) depthwise_pixels<1>(t, p);
}

template <int Taps, int Vectors>
void depthwise_grad_tile(const DepthwiseGrad& t, int64_t c) {
  const Masks<Vectors> masks(t.first + t.channels - c);
  V acc[Taps][Vectors];
  UNROLL for (int i = 0; i < Taps; ++i) UNROLL for (int v = 0; v < Vectors; ++v) acc[i][v] = V::zero();
  for (const Segment* s = t.segments; s < t.segments + t.count; ++s) {
    const float* x[Taps];
    UNROLL for (int i = 0; i < Taps; ++i) x[i] = s->x[t.first_tap + i] + c;
    const float* g = s->g + c;
    for (int64_t at = 0, end = s->pixels * t.x_step; at < end; at += t.x_step, g += t.g_step) UNROLL for (int v = 0; v < Vectors; ++v) {
        V gv = V::load(g + v * kLanes, masks.m[v]);
        UNROLL for (int i = 0; i < Taps; ++i) acc[i][v] = V::fma(gv, V::load(x[i] + at + v * kLanes, masks.m[v]), acc[i][v]);
      }
  }
  UNROLL for (int i = 0; i < Taps; ++i) UNROLL for (int v = 0; v < Vectors; ++v) acc[i][v].store(
      t.dw + (t.first_tap + i) * t.dw_step + c + v * kLanes, masks.m[v]);
}

template <int Taps>
void depthwise_grad(const DepthwiseGrad& t) {
  const int64_t end = t.first + t.channels;
  int64_t c = t.first;
  for (; end - c > kLanes; c += kGradVectors * kLanes) depthwise_grad_tile<Taps, kGradVectors>(t, c);
  if (c < end) depthwise_grad_tile<Taps, 1>(t, c);
}

void transpose(const float* from, int64_t from_step, int64_t rows, int64_t k, float* to, int64_t to_step) {
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    V v[kLanes];
    UNROLL for (int r = 0; r < kLanes; ++r) v[r] = r < rows ? V::load(from + r * from_step + i) : V::zero();
    V::transpose(v);
    UNROLL for (int r = 0; r < kLanes; ++r) v[r].store(to + (i + r) * to_step);
  }
  for (; i < k; ++i)
    for (int64_t r = 0; r < kLanes; ++r) to[i * to_step + r] = r < rows ? from[r * from_step + i] : 0.0f;
}

void affine(const Affine<float>& a, const float* x, int64_t pixels, int64_t channels, float* to, int64_t to_step) {
  affine_row<V>(a, x, pixels, channels, to, to_step);
}

// Tables without std::index_sequence: one line per size.
#define TILES(v, h) \
  { nullptr, tile<v, h, 1>, tile<v, h, 2>, tile<v, h, 3>, TILES_WIDE(v, h) }
#define GRADS(v) \
  { nullptr, grad_tile<v, 1>, grad_tile<v, 2>, grad_tile<v, 3>, grad_tile<v, 4>, GRADS_WIDE(v) }

#define DEPTHWISE_GRADS                                                                                                        \
  {                                                                                                                            \
    nullptr, depthwise_grad<1>, depthwise_grad<2>, depthwise_grad<3>, depthwise_grad<4>, depthwise_grad<5>, depthwise_grad<6>, \
        depthwise_grad<7>, depthwise_grad<8>, depthwise_grad<9>                                                                \
  }

constexpr Kernels kKernels = {
    kLanes,
    kPixels,
    kGrads,
    {{TILES(1, 1), TILES(1, 2)}, {TILES(2, 1), TILES(2, 2)}},
    {GRADS(1), GRADS(2)},
    depthwise_row,
    DEPTHWISE_GRADS,
    transpose,
    winograd_input<V>,
    winograd_gradient<V>,
    winograd_output<V>,
    affine,
};

}  // namespace
}  // namespace vitrine::cpu
