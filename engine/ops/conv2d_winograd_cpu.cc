#include "engine/cpu/conv_fused.h"
#include "engine/cpu/loops.h"
#include "engine/cpu/winograd.h"
#include "engine/ops/conv2d_winograd.h"

namespace vitrine {
namespace {

cpu::ConvShape conv_shape(const Shape& x, const Shape& y, int64_t pad_h, int64_t pad_w) {
  return {.n = x[0], .h = x[1], .w = x[2], .c = x[3], .o = y[3], .kh = 3, .kw = 3, .oh = y[1], .ow = y[2], .pad_h = pad_h, .pad_w = pad_w};
}

// Packs the weights for this call: they change with every step, and packing is a small part of a training batch's work.
template <class T>
void forward(const Call& call) {
  auto& a = call.as<WinogradAttrs>();
  const Tensor &x = call.in[0], &y = call.out[0];
  const cpu::ConvShape s = conv_shape(x.shape(), y.shape(), a.pad_h, a.pad_w);
  const int64_t panels = (s.o + cpu::kPanel - 1) / cpu::kPanel;
  Tensor packed = Tensor::empty({{cpu::kWinogradPlanes, panels, s.c, cpu::kPanel}, y.dtype()});
  cpu::pack_winograd<T>(s, call.in[1].data<T>(), packed.data<T>(), a.mirrored != 0);
  const Tensor nothing = Tensor::full({s.o}, -0.0, y.dtype());  // y + -0 is y, also where y is -0
  cpu::FusedConv<T> f{s, true, x.data<T>(), {}, packed.data<T>(), {}, y.data<T>()};
  f.finish.affine.shift = nothing.data<T>(), f.finish.y = f.y;
  cpu::conv2d_fused(f);
}

const KernelFor kernel("conv2d_winograd", Device::cpu,
                       [](const Call& call) { cpu::by_float(call.out[0].dtype(), [&](auto t) { forward<decltype(t)>(call); }); });

const KernelFor grad_w_kernel("conv2d_winograd_grad_w", Device::cpu, [](const Call& call) {
  auto& a = call.as<WinogradGradAttrs>();
  const Tensor &x = call.in[0], &g = call.in[1];
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    cpu::winograd_grad_w(conv_shape(x.shape(), g.shape(), a.pad_h, a.pad_w), x.data<T>(), g.data<T>(), call.out[0].data<T>());
  });
});

}  // namespace
}  // namespace vitrine
