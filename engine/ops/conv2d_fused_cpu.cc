#include "engine/ops/conv2d_fused_cpu.h"

#include "engine/cpu/loops.h"
#include "engine/ops/cast.h"

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

KernelFor fused("conv2d_fused", Device::cpu, [](const Call& given) {
  in_one_dtype(given, [](const Call& call) {
    Tensors more(call.in.begin() + 1, call.in.end());
    more[0] = packed(call);
    cpu::by_float(call.out[0].dtype(), [&](auto t) {
      using T = decltype(t);
      auto f = fused_conv<T>(call.as<FusedConvAttrs>(), call.in[0].shape(), call.out[0].shape(), more);
      f.x = call.in[0].data<T>(), f.finish.y = f.y = call.out[0].data<T>();
      cpu::conv2d_fused(f);
    });
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
