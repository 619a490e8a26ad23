// The steps one after the other, each in the arithmetic and the order of engine/cpu/conv_fused.h: direct sums by conv2d's own kernel on
// unpacked weights, Winograd's by winograd.cuh.
#include "engine/ops/conv2d_fused.h"

#include "engine/ops/conv2d_cuda.cuh"
#include "engine/ops/winograd.cuh"

namespace vitrine {
namespace {

using cpu::Affine, cpu::Finish;
using cuda::each, cuda::fill, cuda::kPanel, cuda::Panels, cuda::ptr;

template <class T>
struct Inputs {
  Affine<T> before;
  Finish<T> finish;  // but for y
  Inputs(const Call& call, const FusedConvAttrs& a) {
    size_t next = 3;
    auto optional = [&](int64_t given) -> const T* { return given ? ptr<T>(call.in[next++]) : nullptr; };
    before.mean = optional(a.before), before.scale = optional(a.before), before.shift = optional(a.before);
    finish.affine.mean = optional(a.after), finish.affine.scale = optional(a.after), finish.affine.shift = ptr<T>(call.in[2]);
    finish.slope = optional(a.prelu), finish.residual = optional(a.residual);
  }
};

// In T, or in bf16 where a library reads that.
template <class T, class Stored = T>
Tensor scaled(const Tensor& x, const Affine<T>& a) {
  if (!a.mean) return x;
  const Tensor out = cuda::scratch<Stored>(x.shape());
  const T* from = ptr<T>(x);
  const cuda::ChannelOf channel_of(x.numel(), x.shape()[3]);
  fill(ptr<Stored>(out), x.numel(), [=] __device__(int64_t i) {
    const int64_t c = channel_of(i);
    return (from[i] - a.mean[c]) * a.scale[c] + a.shift[c];
  });
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
  const Shape shape{call.in[2].numel(), a.kh, a.kw, x.shape()[3] / a.groups};
  const Tensor w = call.in[1].shape() == shape ? call.in[1] : unpacked<T>(call.in[1], shape, a.groups);
  op_named("conv2d").kernel[static_cast<int>(Device::cuda)]({{x, w}, call.out, &a});
  T* y = ptr<T>(call.out[0]);
  const cuda::ChannelOf channel_of(call.out[0].numel(), shape[0]);
  fill(y, call.out[0].numel(), [=] __device__(int64_t i) {
    using Scalar = cpu::reference::Scalar<T>;
    return cpu::finished<Scalar>(finish, Scalar{y[i]}, channel_of(i), y + i, true).r;
  });
}

// By cuDNN with all that comes behind, unless that is a map in the order of BatchNorm's own bits. x is scaled, perhaps in bf16.
bool by_cudnn(const Call& call, const FusedConvAttrs& a, const Tensor& x, const cpu::Finish<float>& finish) {
  const Tensor &w = call.in[1], &y = call.out[0];
  const bool matrix = x.shape()[1] * x.shape()[2] == 1;
  if (!mode().libraries || matrix || a.after || w.shape() != Shape{y.shape()[3], a.kh, a.kw, x.shape()[3] / a.groups}) return false;
  return cuda::by_cudnn(cuda::geometry(cuda::Direction::forward, {x, w, y}, a), {x, w, y},
                        {finish.affine.shift, finish.slope, finish.residual});
}

template <class T>
void fused(const Call& call) {
  auto& a = call.as<FusedConvAttrs>();
  Inputs<T> in(call, a);
  in.finish.y = ptr<T>(call.out[0]);
  const Tensor x = scaled(call.in[0], in.before);
  if (a.winograd) {
    const bool plain = call.in[1].shape()[0] == call.out[0].shape()[3] && call.in[1].shape()[1] == 3;
    return cuda::winograd(x, a.pad_h, a.pad_w, ptr<T>(call.in[1]), plain ? cuda::Weights::plain : cuda::Weights::packed, in.finish,
                          call.out[0]);
  }
  if constexpr (std::is_same_v<T, float>)
    if (mode().precision != Mode::Precision::bf16 && by_cudnn(call, a, x, in.finish)) return;
  direct(call, a, x, in.finish);
}

// What cuDNN reads and writes as it is.
bool in_bf16(const Call& call) {
  auto& a = call.as<FusedConvAttrs>();
  if (!mode().libraries || mode().precision != Mode::Precision::bf16 || call.in[2].dtype() != Dtype::f32) return false;
  const Inputs<float> in(call, a);
  return by_cudnn(call, a, a.before ? scaled<float, Bf16>(converted(call.in[0], Dtype::f32), in.before) : call.in[0], in.finish);
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
  call.out[0].assign(cuda::packed_winograd(w, shape[0], shape[3], false, kPanel));
}

KernelFor fused_kernel("conv2d_fused", Device::cuda, [](const Call& call) {
  if (in_bf16(call)) return;
  in_one_dtype(call, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { fused<decltype(t)>(c); }); });
});
KernelFor pack_kernel("conv2d_pack", Device::cuda,
                      [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { pack<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
