#include "engine/cpu/conv_fused.h"
#include "engine/cpu/loops.h"
#include "engine/ops/cast.h"
#include "engine/ops/conv2d_fused.h"

namespace vitrine {
namespace {

// Weights as they are, of a convolution that is not depthwise, are packed here.
Tensor packed(const Call& call) {
  auto& a = call.as<FusedConvAttrs>();
  const Shape &x = call.in[0].shape(), w = call.in[1].shape();
  const bool plain = w == Shape{call.in[2].numel(), a.kh, a.kw, x[3] / a.groups}, depthwise = a.groups == x[3] && w[0] == x[3];
  if (!plain || depthwise) return call.in[1];
  PackAttrs pack;
  pack.groups = a.groups, pack.winograd = a.winograd;
  NoGrad quiet;
  return conv2d_pack(call.in[1], pack);
}

template <class T>
cpu::FusedConv<T> arguments(const Call& call, const Tensor& weights) {
  auto& a = call.as<FusedConvAttrs>();
  const Shape &x = call.in[0].shape(), &y = call.out[0].shape();
  size_t next = 3;
  auto optional = [&](int64_t given) -> const T* { return given ? call.in[next++].data<T>() : nullptr; };
  cpu::FusedConv<T> f{{x[0], x[1], x[2], x[3], y[3], a.kh, a.kw, y[1], y[2], a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dilation_h,
                       a.dilation_w, a.groups},
                      a.winograd != 0,
                      call.in[0].data<T>(),
                      {},
                      weights.data<T>(),
                      {},
                      call.out[0].data<T>()};
  f.affine.mean = optional(a.before), f.affine.scale = optional(a.before), f.affine.shift = optional(a.before);
  f.finish.affine.mean = optional(a.after), f.finish.affine.scale = optional(a.after), f.finish.affine.shift = call.in[2].data<T>();
  f.finish.slope = optional(a.prelu), f.finish.residual = optional(a.residual), f.finish.y = f.y;
  return f;
}

KernelFor fused("conv2d_fused", Device::cpu, [](const Call& given) {
  in_one_dtype(given, [](const Call& call) {
    const Tensor weights = packed(call);
    cpu::by_float(call.out[0].dtype(), [&](auto t) { cpu::conv2d_fused(arguments<decltype(t)>(call, weights)); });
  });
});

KernelFor pack("conv2d_pack", Device::cpu, [](const Call& call) {
  auto& a = call.as<PackAttrs>();
  const Shape& w = call.in[0].shape();
  cpu::ConvShape s{.c = w[3] * a.groups, .o = w[0], .kh = w[1], .kw = w[2], .groups = a.groups};
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T* w = call.in[0].data<T>();
    T* panels = call.out[0].data<T>();
    a.winograd ? cpu::pack_winograd<T>(s, w, panels) : cpu::pack_panels<T>(s, w, panels);
  });
});

}  // namespace
}  // namespace vitrine
