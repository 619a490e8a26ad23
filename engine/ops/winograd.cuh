// Winograd's F(4x4, 3x3) on the device, in the arithmetic and the orders of engine/cpu/conv_fused.h and winograd.h: the same transforms
// (winograd.inc.h), a thread for each tile and channel, and 36 products (contract.cuh) between them.
#pragma once
#include "engine/cpu/conv_fused_reference.h"
#include "engine/cpu/winograd.h"
#include "engine/cuda/contract.cuh"

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
  each(padded.numel(), [=] __device__(int64_t i) {
    const int64_t pixel = i / c, x_ = pixel % cols - pad_w, y = pixel / cols % rows - pad_h, n = pixel / cols / rows;
    image[i] = y >= 0 && y < h && x_ >= 0 && x_ < w ? from[((n * h + y) * w + x_) * c + i % c] : T(0);
  });
  each(count * c, [=] __device__(int64_t i) {
    const int64_t tile = i / c, row = tile / across, pixel = (row / down * rows + row % down * kOut) * cols + tile % across * kOut;
    transform(cpu::WinogradInput<T>{image + pixel * c, cols * c, c, c, to + tile * c, count * c}, i % c);
  });
  return planes;
}

// y of a convolution with stride 1 and packed weights [36][ceil(o / 32)][c][32], finished.
template <class T>
void winograd(const Tensor& x, int64_t pad_h, int64_t pad_w, const T* packed, const cpu::Finish<T>& finish, const Tensor& out) {
  using Scalar = cpu::reference::Scalar<T>;
  const Tiles tiles(out.shape());
  const int64_t oh = out.shape()[1], ow = out.shape()[2], o = out.shape()[3], c = x.shape()[3];
  const int64_t count = tiles.count(), down = tiles.down, across = tiles.across;
  const Tensor inputs = to_planes<2, T>(x, pad_h, pad_w, tiles, [=] __device__(const cpu::WinogradInput<T>& patch, int64_t channel) {
    cpu::input_at<Scalar>(patch, channel, true);
  });
  const Tensor sums = scratch<T>({kPlanes, count, o});
  const T* v = ptr<T>(inputs);
  T *m = ptr<T>(sums), *y = ptr<T>(out);
  for (int64_t plane = 0; plane < kPlanes; ++plane)
    contract<T>(Matrix<T, true>{v + plane * count * c, c, 1}, Panels<T>{packed + plane * chunk_count(o, kPanel) * c * kPanel, c},
                WholeDepth{static_cast<int>(c)}, 1, count, o, m + plane * count * o);
  each(count * o, [=] __device__(int64_t i) {
    const int64_t tile = i / o, row = tile / across, oy = row % down * kOut, ox = tile % across * kOut;
    const int64_t height = oh - oy < kOut ? oh - oy : kOut, width = ow - ox < kOut ? ow - ox : kOut;
    cpu::output_at<Scalar, false>(
        cpu::WinogradOutput<T>{m + tile * o, count * o, o, y + ((row / down * oh + oy) * ow + ox) * o, ow * o, o, height, width, &finish},
        i % o, true);
  });
}

// cpu::pack_winograd.
template <class T>
void pack_winograd(const T* w, int64_t o, int64_t c, bool mirrored, T* packed) {
  const int64_t panels = chunk_count(o, kPanel);
  const int64_t by_o = mirrored ? 1 : 9 * c, by_tap = mirrored ? -o : c, by_i = mirrored ? 9 * o : 1;
  const T* first = mirrored ? w + 8 * o : w;
  const cpu::WinogradG g;
  each(kPlanes * panels * c * kPanel, [=] __device__(int64_t at) {
    const int64_t i = at / kPanel % c, panel = at / kPanel / c, output = panel % panels * kPanel + at % kPanel, plane = panel / panels;
    const double *down = g.at[plane / kPatch], *across = g.at[plane % kPatch];
    auto weight = [&](int tap) { return output < o ? static_cast<double>(first[output * by_o + tap * by_tap + i * by_i]) : 0.0; };
    double half[3];
    for (int k = 0; k < 3; ++k) half[k] = down[0] * weight(k) + down[1] * weight(3 + k) + down[2] * weight(6 + k);
    packed[at] = static_cast<T>(across[0] * half[0] + across[1] * half[1] + across[2] * half[2]);
  });
}

}  // namespace vitrine::cuda
