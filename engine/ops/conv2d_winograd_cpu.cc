#include "engine/cpu/conv_fused.h"
#include "engine/cpu/loops.h"
#include "engine/ops/conv2d_winograd.h"

namespace vitrine {
namespace {

// Packs the weights for this call: they change with every step, and packing is a small part of a training batch's work.
template <class T>
void forward(const Call& call) {
  auto& a = call.as<WinogradAttrs>();
  const Tensor &x = call.in[0], &y = call.out[0];
  const Shape &in = x.shape(), &out = y.shape();
  const cpu::ConvShape s{.n = in[0],
                         .h = in[1],
                         .w = in[2],
                         .c = in[3],
                         .o = out[3],
                         .kh = 3,
                         .kw = 3,
                         .oh = out[1],
                         .ow = out[2],
                         .pad_h = a.pad_h,
                         .pad_w = a.pad_w};
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

}  // namespace
}  // namespace vitrine
