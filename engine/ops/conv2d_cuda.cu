// cuDNN where it is; our own kernels where it is not, with the orders and so the bits of the cpu (engine/cpu/conv.h): an implicit product
// (contract.cuh) for one group, a thread per element for more, where the channels of a group are few.
#include "engine/ops/conv2d_cuda.cuh"

#include "engine/cpu/conv.h"
#include "engine/cuda/contract.cuh"

namespace vitrine {
namespace {

using cuda::by_library, cuda::ConvProblem, cuda::Direction, cuda::each, cuda::geometry, cuda::Matrix, cuda::ptr, cuda::Range;
using Geometry = ConvProblem;

// ---- operands ----------------------------------------------------------------------------------------------------------------------

struct Pixel {
  int image, y, x;  // image: its first row, n * height
};
struct Tap {
  int y, x, channel;
};

// x as seen by pixels of y through the taps (ky, kx, i).
template <class T>
struct Patches {
  using Row = Pixel;
  using Col = Tap;
  static constexpr bool kAlongDepth = true;
  const T* x;
  Geometry s;
  __device__ Row row(int pixel) const {
    const int line = pixel / s.ow;
    return {line / s.oh * s.h, line % s.oh * s.stride_h - s.pad_h, pixel % s.ow * s.stride_w - s.pad_w};
  }
  __device__ Col col(int k) const {
    const int tap = k / s.c;
    return {tap / s.kw * s.dilation_h, tap % s.kw * s.dilation_w, k % s.c};
  }
  __device__ T at(Row r, Col t) const {
    const int y = r.y + t.y, x_ = r.x + t.x;
    return y >= 0 && y < s.h && x_ >= 0 && x_ < s.w ? x[(int64_t{r.image + y} * s.w + x_) * s.c + t.channel] : T(0);
  }
};

// The same with rows and columns exchanged: for the weight gradient, whose depth is the pixels.
template <class T>
struct PatchesByPixel {
  using Row = Tap;
  using Col = Pixel;
  static constexpr bool kAlongDepth = false;
  Patches<T> patches;
  __device__ Row row(int k) const { return patches.col(k); }
  __device__ Col col(int pixel) const { return patches.row(pixel); }
  __device__ T at(Row t, Col r) const { return patches.at(r, t); }
};

// Where the output pixel lies that reads the input coordinate `from` through a tap; negative: none does.
__device__ int reader(int from, int tap, int stride, int extent) {
  const int at = from - tap;
  return at % stride || at / stride >= extent ? -1 : at / stride;
}

// g as seen by pixels of x through the taps (ky, kx, o).
template <class T>
struct Readers {
  using Row = Pixel;
  using Col = Tap;
  static constexpr bool kAlongDepth = true;
  const T* g;
  Geometry s;
  __device__ Row row(int pixel) const {
    const int line = pixel / s.w;
    return {line / s.h * s.oh, line % s.h + s.pad_h, pixel % s.w + s.pad_w};
  }
  __device__ Col col(int k) const {
    const int tap = k / s.o;
    return {tap / s.kw * s.dilation_h, tap % s.kw * s.dilation_w, k % s.o};
  }
  __device__ T at(Row r, Col t) const {
    const int y = reader(r.y, t.y, s.stride_h, s.oh), x = reader(r.x, t.x, s.stride_w, s.ow);
    return y >= 0 && x >= 0 ? g[(int64_t{r.image + y} * s.ow + x) * s.o + t.channel] : T(0);
  }
};

// Weights with the input channels as rows and (ky, kx, o) as depth.
template <class T>
struct WeightsByInput {
  using Row = int64_t;
  using Col = int64_t;
  static constexpr bool kAlongDepth = false;
  const T* w;
  Geometry s;
  __device__ Row row(int channel) const { return channel; }
  __device__ Col col(int k) const { return (int64_t{k % s.o} * s.kh * s.kw + k / s.o) * s.c; }
  __device__ T at(Row r, Col c) const { return w[r + c]; }
};

// The pixels of y in the blocks of the order law: whole images, or rows of one.
struct PixelBlocks {
  int n, oh, ow, images, rows, down;
  __device__ Range range(int block) const {
    const int image = block / down * images, y = block % down * rows;
    const int last = images > 1 ? (image + images < n ? image + images : n) * oh : image * oh + (y + rows < oh ? y + rows : oh);
    return {(image * oh + y) * ow, last * ow};
  }
};

// ---- more than one group: a thread per element -------------------------------------------------------------------------------------

template <class T>
void grouped_forward(const Geometry& s, const T* x, const T* w, T* y) {
  const int ci = s.c / s.groups, co = s.o / s.groups;
  const Patches<T> patches{x, s};
  each(int64_t{s.n} * s.oh * s.ow * s.o, [=] __device__(int64_t i) {
    const int o = static_cast<int>(i % s.o);
    const Pixel pixel = patches.row(static_cast<int>(i / s.o));
    T sum = 0;
    for (int tap = 0; tap < s.kh * s.kw; ++tap)
      for (int k = 0; k < ci; ++k)
        sum = cuda::fused(patches.at(pixel, {tap / s.kw * s.dilation_h, tap % s.kw * s.dilation_w, o / co * ci + k}),
                          w[(int64_t{o} * s.kh * s.kw + tap) * ci + k], sum);
    y[i] = sum;
  });
}

template <class T>
void grouped_grad_x(const Geometry& s, const T* g, const T* w, T* gx) {
  const int ci = s.c / s.groups, co = s.o / s.groups;
  const Readers<T> readers{g, s};
  each(int64_t{s.n} * s.h * s.w * s.c, [=] __device__(int64_t i) {
    const int c = static_cast<int>(i % s.c), first = c / ci * co;
    const Pixel pixel = readers.row(static_cast<int>(i / s.c));
    T sum = 0;
    for (int tap = 0; tap < s.kh * s.kw; ++tap)
      for (int o = first; o < first + co; ++o)
        sum = cuda::fused(readers.at(pixel, {tap / s.kw * s.dilation_h, tap % s.kw * s.dilation_w, o}),
                          w[(int64_t{o} * s.kh * s.kw + tap) * ci + c % ci], sum);
    gx[i] = sum;
  });
}

template <class T>
void grouped_grad_w(const Geometry& s, const PixelBlocks& blocks, int64_t slices, const T* x, const T* g, T* slice) {
  const int ci = s.c / s.groups, co = s.o / s.groups, numel = s.o * s.kh * s.kw * ci;
  const Patches<T> patches{x, s};
  each(slices * numel, [=] __device__(int64_t job) {
    // o runs fastest, so that neighbouring threads read neighbouring elements of g and x.
    const int i = static_cast<int>(job % numel), o = i % s.o, k = i / s.o % ci, tap = i / s.o / ci;
    const Tap t{tap / s.kw * s.dilation_h, tap % s.kw * s.dilation_w, o / co * ci + k};
    const Range range = blocks.range(static_cast<int>(job / numel));
    T sum = 0;
    for (int p = range.begin; p < range.end; ++p) sum = cuda::fused(g[int64_t{p} * s.o + o], patches.at(patches.row(p), t), sum);
    slice[job / numel * numel + (int64_t{o} * s.kh * s.kw + tap) * ci + k] = sum;
  });
}

// ---- the three directions ----------------------------------------------------------------------------------------------------------

template <class T>
void forward(const Call& call) {
  const Tensor &x = call.in[0], &w = call.in[1], &y = call.out[0];
  const Geometry s = geometry(Direction::forward, {x, w, y}, call.as<Conv2dAttrs>());
  if (s.groups > 1) return grouped_forward(s, ptr<T>(x), ptr<T>(w), ptr<T>(y));
  const int depth = s.kh * s.kw * s.c;
  cuda::contract<T>(Patches<T>{ptr<T>(x), s}, Matrix<T, true>{ptr<T>(w), depth, 1}, cuda::WholeDepth{depth}, 1, int64_t{s.n} * s.oh * s.ow,
                    s.o, ptr<T>(y));
}

template <class T>
void grad_x(const Call& call) {
  const Tensor &g = call.in[0], &w = call.in[1], &gx = call.out[0];
  const Geometry s = geometry(Direction::grad_x, {gx, w, g}, call.as<Conv2dAttrs>());
  if (s.groups > 1) return grouped_grad_x(s, ptr<T>(g), ptr<T>(w), ptr<T>(gx));
  cuda::contract<T>(Readers<T>{ptr<T>(g), s}, WeightsByInput<T>{ptr<T>(w), s}, cuda::WholeDepth{s.kh * s.kw * s.o}, 1,
                    int64_t{s.n} * s.h * s.w, s.c, ptr<T>(gx));
}

template <class T>
void grad_w(const Call& call) {
  const Tensor &x = call.in[0], &g = call.in[1], &gw = call.out[0];
  const Geometry s = geometry(Direction::grad_w, {x, gw, g}, call.as<Conv2dAttrs>());
  const auto cut = cpu::grad_w_blocks({s.n, s.h, s.w, s.c, s.o, s.kh, s.kw, s.oh, s.ow});
  const PixelBlocks blocks{s.n, s.oh, s.ow, static_cast<int>(cut.images), static_cast<int>(cut.rows), static_cast<int>(cut.down)};
  Tensor slices = cuda::scratch<T>({cut.count(), gw.numel()});
  if (s.groups > 1) {
    grouped_grad_w(s, blocks, cut.count(), ptr<T>(x), ptr<T>(g), ptr<T>(slices));
  } else {
    cuda::contract<T>(Matrix<T, false>{ptr<T>(g), 1, s.o}, PatchesByPixel<T>{{ptr<T>(x), s}}, blocks, cut.count(), s.o,
                      int64_t{s.kh} * s.kw * s.c, ptr<T>(slices));
  }
  cuda::sum_slices(ptr<T>(slices), cut.count(), gw.numel(), ptr<T>(gw));
}

#define KERNEL(op, direction)                                                                                          \
  KernelFor direction##_kernel(op, Device::cuda, [](const Call& call) {                                                \
    if (by_library(Direction::direction, call)) return;                                                                \
    in_one_dtype(call, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { direction<decltype(t)>(c); }); }); \
  })
KERNEL("conv2d", forward);
KERNEL("conv2d_grad_x", grad_x);
KERNEL("conv2d_grad_w", grad_w);

}  // namespace
}  // namespace vitrine
