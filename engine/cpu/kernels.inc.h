// The register kernels, written once over a vector type V; included by kernels_avx2.cc and kernels_avx512.cc after they define V, kPixels
// and kGrads. Everything is in an anonymous namespace and nothing of the C++ library is used: code compiled for one instruction set must
// not be merged by the linker with code that runs on a lesser machine.
#pragma once
#include "engine/cpu/kernels.h"

namespace vitrine::cpu {
namespace {

constexpr int64_t kLanes = V::lanes;

#define UNROLL _Pragma("GCC unroll 16")

template <int Vectors>
struct Masks {
  V::Mask m[Vectors];
  explicit Masks(int64_t count) {
    UNROLL for (int v = 0; v < Vectors; ++v) m[v] = V::mask(count - v * kLanes);
  }
};

template <int Vectors, int Halves, int Pixels>
void tile(const Tile& t) {
  const Masks<Vectors> masks(t.outputs);
  V acc[Halves][Pixels][Vectors];
  UNROLL for (int h = 0; h < Halves; ++h) UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v)
    acc[h][p][v] = V::zero();
  if (t.resume) UNROLL for (int h = 0; h < Halves; ++h) UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v)
    acc[h][p][v] = V::load(t.y[h] + p * t.y_step + v * kLanes, masks.m[v]);
  const int64_t step = t.x_step;
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
      w += Vectors * kLanes;
      ++x0, ++x1;
    }
  }
  UNROLL for (int h = 0; h < Halves; ++h) UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int v = 0; v < Vectors; ++v)
    acc[h][p][v].store(t.y[h] + p * t.y_step + v * kLanes, masks.m[v]);
}

template <int Vectors, int Outputs>
void grad_tile(const GradTile& t) {
  const Masks<Vectors> masks(t.lanes);
  V acc[Outputs][Vectors];
  UNROLL for (int j = 0; j < Outputs; ++j) UNROLL for (int v = 0; v < Vectors; ++v) acc[j][v] = V::zero();
  for (int64_t row = 0; row < t.rows; ++row) {
    const float* x = t.x + row * t.x_row;
    const float* g = t.g + row * t.g_row;
#pragma GCC unroll 2
    for (int64_t p = t.pixels; p > 0; --p) {
      V xv[Vectors];
      UNROLL for (int v = 0; v < Vectors; ++v) xv[v] = V::load(x + v * kLanes);
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

// Tables without std::index_sequence: one line per size.
#define TILES(v, h) \
  { nullptr, tile<v, h, 1>, tile<v, h, 2>, tile<v, h, 3>, TILES_WIDE(v, h) }
#define GRADS(v) \
  { nullptr, grad_tile<v, 1>, grad_tile<v, 2>, grad_tile<v, 3>, grad_tile<v, 4>, GRADS_WIDE(v) }

constexpr Kernels kKernels = {
    kLanes, kPixels, kGrads, {{TILES(1, 1), TILES(1, 2)}, {TILES(2, 1), TILES(2, 2)}}, {GRADS(1), GRADS(2)}, transpose,
};

}  // namespace
}  // namespace vitrine::cpu
