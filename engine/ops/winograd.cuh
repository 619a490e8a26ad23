// Winograd's F(4x4, 3x3) on the device, in the arithmetic and the orders of engine/cpu/conv_fused.h and winograd.h: the same transforms
// (winograd.inc.h), a thread for each tile and channel, and 36 products between them: by cuBLAS, or by our own kernel (contract.cuh) with
// the cpu's bits.
#pragma once
#include "engine/core/mode.h"
#include "engine/cpu/conv_fused_reference.h"
#include "engine/cpu/winograd.h"
#include "engine/cuda/contract.cuh"
#include "engine/cuda/library.h"

namespace vitrine::cuda {

using cpu::kOut, cpu::kPanel, cpu::kPatch, cpu::kPlanes;

// Outputs of packed weights side by side, kPanel to a panel: [panel][depth][kPanel].
template <class T>
struct Panels {
  using Row = int64_t;
  using Col = int64_t;
  static constexpr bool kAlongDepth = false;
  const T* w;
  int64_t depth;
  __device__ Row row(int o) const { return o / kPanel * depth * kPanel + o % kPanel; }
  __device__ Col col(int k) const { return k * kPanel; }
  __device__ T at(Row r, Col c) const { return w[r + c]; }
};

// The tiles of 4 x 4 pixels of y, row by row through all images.
struct Tiles {
  int64_t n, down, across;
  explicit Tiles(const Shape& y) : n(y[0]), down(chunk_count(y[1], kOut)), across(chunk_count(y[2], kOut)) {}
  int64_t count() const { return n * down * across; }
};

// Each tile's patch of x through a transform, [36][tiles][c]. kBorder: pixels of a patch beyond the tile, 2 for inputs, 0 for gradients.
// transform(cpu::WinogradInput<T>, channel). x lies pad_h, pad_w inside of a copy with zeros round it, so that every patch is whole.
template <int kBorder, class T, class Transform>
Tensor to_planes(const Tensor& x, int64_t pad_h, int64_t pad_w, const Tiles& tiles, const Transform& transform) {
  const int64_t h = x.shape()[1], w = x.shape()[2], c = x.shape()[3], down = tiles.down, across = tiles.across;
  const int64_t rows = kOut * down + kBorder, cols = kOut * across + kBorder, count = tiles.count();
  const Tensor padded = scratch<T>({tiles.n, rows, cols, c}), planes = scratch<T>({kPlanes, count, c});
  const T* from = ptr<T>(x);
  T *image = ptr<T>(padded), *to = ptr<T>(planes);
  CHECK(padded.numel() < int64_t{1} << 31, "cuda: Winograd on x ", x.shape(), ": expected fewer than 2^31 elements");
  const Divisor by_c(c), by_cols(cols), by_rows(rows), by_across(across), by_down(down);
  fill(image, padded.numel(), [=] __device__(int64_t i) {
    const uint32_t at = static_cast<uint32_t>(i), pixel = by_c.quotient(at), line = by_cols.quotient(pixel), n = by_rows.quotient(line);
    const int64_t x_ = by_cols.remainder(pixel) - pad_w, y = by_rows.remainder(line) - pad_h;
    return y >= 0 && y < h && x_ >= 0 && x_ < w ? from[((n * h + y) * w + x_) * c + by_c.remainder(at)] : T(0);
  });
  each(count * c, [=] __device__(int64_t i) {
    const uint32_t at = static_cast<uint32_t>(i), tile = by_c.quotient(at), row = by_across.quotient(tile), channel = by_c.remainder(at);
    const int64_t y = by_down.quotient(row) * rows + by_down.remainder(row) * kOut, pixel = y * cols + by_across.remainder(tile) * kOut;
    transform(cpu::WinogradInput<T>{image + pixel * c, cols * c, c, c, to + tile * c, count * c}, channel);
  });
  return planes;
}

// Weights [o][3][3][c] (mirrored: [c][3][3][o]) as cpu::pack_winograd packs them, in panels of so many outputs: [36][panels][c][panel].
template <class T>
Tensor packed_winograd(const T* w, int64_t o, int64_t c, bool mirrored, int64_t panel) {
  const int64_t panels = chunk_count(o, panel);
  const int64_t by_o = mirrored ? 1 : 9 * c, by_tap = mirrored ? -o : c, by_i = mirrored ? 9 * o : 1;
  const T* first = mirrored ? w + 8 * o : w;
  const cpu::WinogradG g;
  const Tensor out = scratch<T>({kPlanes, panels, c, panel});
  CHECK(out.numel() < int64_t{1} << 31, "cuda: Winograd with ", o, " outputs of ", c, " channels: expected fewer than 2^31 elements");
  const Divisor by_panel(panel), by_c(c), by_panels(panels);
  fill(ptr<T>(out), out.numel(), [=] __device__(int64_t at) {
    const uint32_t n = static_cast<uint32_t>(at), row = by_panel.quotient(n), block = by_c.quotient(row);
    const int64_t i = by_c.remainder(row), output = int64_t{by_panels.remainder(block)} * panel + by_panel.remainder(n);
    const uint32_t plane = by_panels.quotient(block);
    const double *down = g.at[plane / kPatch], *across = g.at[plane % kPatch];
    auto weight = [&](int tap) { return output < o ? static_cast<double>(first[output * by_o + tap * by_tap + i * by_i]) : 0.0; };
    double half[3];
    for (int k = 0; k < 3; ++k) half[k] = down[0] * weight(k) + down[1] * weight(3 + k) + down[2] * weight(6 + k);
    return static_cast<T>(across[0] * half[0] + across[1] * half[1] + across[2] * half[2]);
  });
  return out;
}

// The 36 products of f32 planes by cuBLAS, if it is there. In f32 only: the transforms would magnify what TF32 rounds off.
template <class T>
bool products(int64_t m, int64_t n, int64_t k, const T* a, bool ta, const T* b, T* c) {
  if constexpr (std::is_same_v<T, float>)
    return mode().precision == Mode::Precision::f32 && cublas_matmuls(kPlanes, m, n, k, a, ta, b, false, c);
  return false;
}

// y of a convolution with stride 1, finished. Weights are [o][3][3][c] (mirrored: [c][3][3][o]), or packed in the cpu's panels.
enum class Weights : uint8_t { plain, mirrored, packed };
template <class T>
void winograd(const Tensor& x, int64_t pad_h, int64_t pad_w, const T* w, Weights weights, const cpu::Finish<T>& finish, const Tensor& out) {
  using Scalar = cpu::reference::Scalar<T>;
  CHECK(out.numel() < int64_t{1} << 31, "cuda: Winograd into y ", out.shape(), ": expected fewer than 2^31 elements");
  const Tiles tiles(out.shape());
  const int64_t oh = out.shape()[1], ow = out.shape()[2], o = out.shape()[3], c = x.shape()[3];
  const int64_t count = tiles.count(), down = tiles.down, across = tiles.across;
  const Tensor inputs = to_planes<2, T>(x, pad_h, pad_w, tiles, [=] __device__(const cpu::WinogradInput<T>& patch, int64_t channel) {
    cpu::input_at<Scalar>(patch, channel, true);
  });
  const Tensor sums = scratch<T>({kPlanes, count, o});
  const T* v = ptr<T>(inputs);
  T *m = ptr<T>(sums), *y = ptr<T>(out);
  auto pack = [&](int64_t panel) { return packed_winograd(w, o, c, weights == Weights::mirrored, panel); };
  if (weights == Weights::packed || !products(count, o, c, v, false, ptr<T>(pack(o)), m)) {
    const Tensor panels = weights == Weights::packed ? Tensor() : pack(kPanel);
    const T* packed = panels ? ptr<T>(panels) : w;
    for (int64_t plane = 0; plane < kPlanes; ++plane)
      contract<T>(Matrix<T, true>{v + plane * count * c, c, 1}, Panels<T>{packed + plane * chunk_count(o, kPanel) * c * kPanel, c},
                  WholeDepth{static_cast<int>(c)}, 1, count, o, m + plane * count * o);
  }
  const Divisor by_o(o), by_across(across), by_down(down);
  each(count * o, [=] __device__(int64_t i) {
    const uint32_t at = static_cast<uint32_t>(i), tile = by_o.quotient(at), row = by_across.quotient(tile);
    const int64_t oy = by_down.remainder(row) * kOut, ox = by_across.remainder(tile) * kOut;
    const int64_t height = oh - oy < kOut ? oh - oy : kOut, width = ow - ox < kOut ? ow - ox : kOut;
    cpu::output_at<Scalar, false>(cpu::WinogradOutput<T>{m + tile * o, count * o, o, y + ((by_down.quotient(row) * oh + oy) * ow + ox) * o,
                                                         ow * o, o, height, width, &finish},
                                  by_o.remainder(at), true);
  });
}

}  // namespace vitrine::cuda
