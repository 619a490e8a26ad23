// The steps one after the other, each in the arithmetic and the order of engine/cpu/conv_fused.h: direct sums by conv2d's own kernel on
// unpacked weights, Winograd's by 36 products between its transforms.
#include "engine/ops/conv2d_fused.h"

#include "engine/cpu/conv_fused_reference.h"
#include "engine/cuda/contract.cuh"

namespace vitrine {
namespace {

using cpu::Affine, cpu::Finish, cpu::kPanel, cpu::kPatch, cpu::kPlanes;
using cuda::each, cuda::ptr;

// A plane of packed weights: outputs side by side, kPanel to a panel, [panel][depth][kPanel].
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

template <class T>
struct Inputs {
  Affine<T> before;
  Finish<T> finish;
  Inputs(const Call& call, const FusedConvAttrs& a) {
    size_t next = 3;
    auto optional = [&](int64_t given) -> const T* { return given ? ptr<T>(call.in[next++]) : nullptr; };
    before.mean = optional(a.before), before.scale = optional(a.before), before.shift = optional(a.before);
    finish.affine.mean = optional(a.after), finish.affine.scale = optional(a.after), finish.affine.shift = ptr<T>(call.in[2]);
    finish.slope = optional(a.prelu), finish.residual = optional(a.residual), finish.y = ptr<T>(call.out[0]);
  }
};

template <class T>
Tensor scaled(const Tensor& x, const Affine<T>& a) {
  if (!a.mean) return x;
  const Tensor out = cuda::scratch<T>(x.shape());
  const T* from = ptr<T>(x);
  T* to = ptr<T>(out);
  const int64_t c = x.shape()[3];
  each(x.numel(), [=] __device__(int64_t i) { to[i] = (from[i] - a.mean[i % c]) * a.scale[i % c] + a.shift[i % c]; });
  return out;
}

template <class T>
Tensor unpacked(const Tensor& w, const Shape& shape, int64_t groups) {
  const Tensor out = cuda::scratch<T>(shape);
  const int64_t depth = shape.product(1, 4), outputs = shape[0] / groups, group = chunk_count(outputs, kPanel) * kPanel * depth;
  const Panels<T> panels{ptr<T>(w), depth};
  T* to = ptr<T>(out);
  each(out.numel(), [=] __device__(int64_t i) {
    const int64_t o = i / depth;
    to[i] = panels.at(o / outputs * group + panels.row(static_cast<int>(o % outputs)), panels.col(static_cast<int>(i % depth)));
  });
  return out;
}

template <class T>
void direct(const Call& call, FusedConvAttrs& a, const Tensor& x, const Finish<T>& finish) {
  const int64_t o = call.in[2].numel(), c = x.shape()[3];
  const bool depthwise = a.groups == c && c == o;
  const Tensor w = depthwise ? call.in[1] : unpacked<T>(call.in[1], {o, a.kh, a.kw, c / a.groups}, a.groups);
  op_named("conv2d").kernel[static_cast<int>(Device::cuda)]({{x, w}, call.out, &a});
  T* y = ptr<T>(call.out[0]);
  each(call.out[0].numel(), [=] __device__(int64_t i) {
    using Scalar = cpu::reference::Scalar<T>;
    y[i] = cpu::finished<Scalar>(finish, Scalar{y[i]}, i % o, y + i, true).r;
  });
}

struct Tiles {
  int64_t n, down, across;
  int64_t count() const { return n * down * across; }
};

// x with a border of zeros, so that every tile's patch lies inside.
template <class T>
Tensor padded(const Tensor& x, const FusedConvAttrs& a, const Tiles& t) {
  const int64_t h = x.shape()[1], w = x.shape()[2], c = x.shape()[3], rows = cpu::kOut * t.down + 2, cols = cpu::kOut * t.across + 2;
  const int64_t pad_h = a.pad_h, pad_w = a.pad_w;
  const Tensor out = cuda::scratch<T>({t.n, rows, cols, c});
  const T* from = ptr<T>(x);
  T* to = ptr<T>(out);
  each(out.numel(), [=] __device__(int64_t i) {
    const int64_t pixel = i / c, ix = pixel % cols - pad_w, iy = pixel / cols % rows - pad_h, image = pixel / cols / rows;
    to[i] = iy >= 0 && iy < h && ix >= 0 && ix < w ? from[((image * h + iy) * w + ix) * c + i % c] : T(0);
  });
  return out;
}

template <class T>
void winograd(const Call& call, const FusedConvAttrs& a, const Tensor& x, const Finish<T>& finish) {
  using Scalar = cpu::reference::Scalar<T>;
  const Shape ys = call.out[0].shape();
  const int64_t oh = ys[1], ow = ys[2], o = ys[3], c = x.shape()[3];
  const Tiles tiles{ys[0], chunk_count(oh, cpu::kOut), chunk_count(ow, cpu::kOut)};
  const int64_t count = tiles.count(), down = tiles.down, across = tiles.across, cols = cpu::kOut * across + 2;
  if (count == 0) return;
  const Tensor image = padded<T>(x, a, tiles), inputs = cuda::scratch<T>({kPlanes, count, c}), sums = cuda::scratch<T>({kPlanes, count, o});
  const T* from = ptr<T>(image);
  T *v = ptr<T>(inputs), *m = ptr<T>(sums), *y = ptr<T>(call.out[0]);
  each(count * c, [=] __device__(int64_t i) {
    const int64_t tile = i / c, row = tile / across, corner = (row / down * (cpu::kOut * down + 2) + row % down * cpu::kOut) * cols;
    cpu::input_at<Scalar>(cpu::WinogradInput<T>{from + (corner + tile % across * cpu::kOut) * c, cols * c, c, c, v + tile * c, count * c},
                          i % c, true);
  });
  for (int plane = 0; plane < kPlanes; ++plane)
    cuda::contract<T>(cuda::Matrix<T, true>{v + plane * count * c, c, 1},
                      Panels<T>{ptr<T>(call.in[1]) + plane * chunk_count(o, kPanel) * c * kPanel, c}, cuda::WholeDepth{static_cast<int>(c)},
                      1, count, o, m + plane * count * o);
  each(count * o, [=] __device__(int64_t i) {
    const int64_t tile = i / o, row = tile / across, oy = row % down * cpu::kOut, ox = tile % across * cpu::kOut;
    const int64_t height = oh - oy < cpu::kOut ? oh - oy : cpu::kOut, width = ow - ox < cpu::kOut ? ow - ox : cpu::kOut;
    cpu::output_at<Scalar, false>(
        cpu::WinogradOutput<T>{m + tile * o, count * o, o, y + ((row / down * oh + oy) * ow + ox) * o, ow * o, o, height, width, &finish},
        i % o, true);
  });
}

template <class T>
void fused(const Call& call) {
  auto& a = call.as<FusedConvAttrs>();
  const Inputs<T> in(call, a);
  const Tensor x = scaled(call.in[0], in.before);
  a.winograd ? winograd(call, a, x, in.finish) : direct(call, a, x, in.finish);
}

template <class T>
void pack(const Call& call) {
  auto& a = call.as<PackAttrs>();
  const Shape& shape = call.in[0].shape();
  const int64_t outputs = shape[0] / a.groups, panels = chunk_count(outputs, kPanel);
  const T* w = ptr<T>(call.in[0]);
  T* to = ptr<T>(call.out[0]);
  if (!a.winograd) {
    const int64_t depth = shape.product(1, 4);
    each(call.out[0].numel(), [=] __device__(int64_t i) {
      const int64_t panel = i / kPanel / depth, o = panel % panels * kPanel + i % kPanel;
      to[i] = o < outputs ? w[(panel / panels * outputs + o) * depth + i / kPanel % depth] : T(0);
    });
    return;
  }
  const int64_t c = shape[3];
  const cpu::WinogradWeights g;
  each(call.out[0].numel(), [=] __device__(int64_t i) {
    const int64_t channel = i / kPanel % c, panel = i / kPanel / c, o = panel % panels * kPanel + i % kPanel;
    to[i] = o < outputs ? static_cast<T>(g.at(static_cast<int>(panel / panels), w + o * 9 * c + channel, c)) : T(0);
  });
}

#define KERNEL(id, op, function) \
  KernelFor id(op, Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { function<decltype(t)>(c); }); })
KERNEL(fused_kernel, "conv2d_fused", fused);
KERNEL(pack_kernel, "conv2d_pack", pack);

}  // namespace
}  // namespace vitrine
