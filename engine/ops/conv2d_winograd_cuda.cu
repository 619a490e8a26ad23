#include "engine/ops/conv2d_winograd.h"

#include "engine/ops/winograd.cuh"

namespace vitrine {
namespace {

using cuda::each, cuda::kPatch, cuda::kPlanes, cuda::ptr;

template <class T>
void forward(const Call& call) {
  auto& a = call.as<WinogradAttrs>();
  const int64_t o = call.out[0].shape()[3];
  const Tensor nothing = cuda::scratch<T>({o});
  T* zero = ptr<T>(nothing);
  each(o, [=] __device__(int64_t i) { zero[i] = T(-0.0); });  // y + -0 is y, also where y is -0
  cpu::Finish<T> finish;
  finish.affine.shift = zero, finish.y = ptr<T>(call.out[0]);
  cuda::winograd(call.in[0], a.pad_h, a.pad_w, ptr<T>(call.in[1]), a.mirrored ? cuda::Weights::mirrored : cuda::Weights::plain, finish,
                 call.out[0]);
}

struct TileBlocks {
  int64_t step, tiles;
  __device__ cuda::Range range(int block) const {
    const int64_t end = (block + 1) * step < tiles ? (block + 1) * step : tiles;
    return {static_cast<int>(block * step), static_cast<int>(end)};
  }
};

template <class T>
void grad_w(const Call& call) {
  using Scalar = cpu::reference::Scalar<T>;
  using Patch = cpu::WinogradInput<T>;
  auto& a = call.as<WinogradGradAttrs>();
  const Shape y = call.in[1].shape();
  const cuda::Tiles tiles(y);
  const int64_t c = call.in[0].shape()[3], o = y[3], count = tiles.count(), size = o * c;
  const Tensor inputs = cuda::to_planes<2, T>(call.in[0], a.pad_h, a.pad_w, tiles,
                                              [=] __device__(const Patch& p, int64_t i) { cpu::input_at<Scalar>(p, i, true); });
  const Tensor gradients =
      cuda::to_planes<0, T>(call.in[1], 0, 0, tiles, [=] __device__(const Patch& p, int64_t i) { cpu::gradient_at<Scalar>(p, i, true); });
  const TileBlocks blocks{cpu::grad_tile_rows({.ow = y[2]}) * tiles.across, count};
  const int64_t slices = count ? chunk_count(count, blocks.step) : 0;
  const Tensor parts = cuda::scratch<T>({slices, size}), sums = cuda::scratch<T>({kPlanes, size});
  T* m = ptr<T>(sums);
  const T *z = ptr<T>(gradients), *v = ptr<T>(inputs);
  const bool done = cuda::products(o, c, count, z, true, v, m);
  for (int64_t plane = 0; !done && plane < kPlanes; ++plane) {
    cuda::contract<T>(cuda::Matrix<T, false>{z + plane * count * o, 1, o}, cuda::Matrix<T, false>{v + plane * count * c, 1, c}, blocks,
                      slices, o, c, ptr<T>(parts));
    cuda::sum_slices(ptr<T>(parts), slices, size, m + plane * size);
  }
  const cpu::WinogradG g;
  T* dw = ptr<T>(call.out[0]);
  each(size, [=] __device__(int64_t i) {  // G^T m G
    double half[3][kPatch] = {};
    for (int p = 0; p < kPlanes; ++p)
      for (int k = 0; k < 3; ++k) half[k][p % kPatch] += g.at[p / kPatch][k] * static_cast<double>(m[p * size + i]);
    for (int tap = 0; tap < 9; ++tap) {
      double sum = 0;
      for (int p = 0; p < kPatch; ++p) sum += g.at[p][tap % 3] * half[tap / 3][p];
      dw[(i / c * 9 + tap) * c + i % c] = static_cast<T>(sum);
    }
  });
}

#define KERNEL(id, op, function) \
  KernelFor id(op, Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { function<decltype(t)>(c); }); })
KERNEL(forward_kernel, "conv2d_winograd", forward);
KERNEL(grad_w_kernel, "conv2d_winograd_grad_w", grad_w);

}  // namespace
}  // namespace vitrine
