#include "engine/cpu/conv.h"

#include "engine/core/by_float.h"
#include "engine/ops/cast.h"
#include "engine/ops/conv2d.h"

namespace vitrine {
namespace {

cpu::ConvShape conv_shape(const Shape& x, const Shape& w, const Shape& y, const Conv2dAttrs& a) {
  return {x[0], x[1],       x[2],       x[3],    w[0],    w[1],         w[2],         y[1],
          y[2], a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dilation_h, a.dilation_w, a.groups};
}

template <class T>
void forward(const Call& call) {
  const Tensor &x = call.in[0], &w = call.in[1], &y = call.out[0];
  cpu::conv2d(conv_shape(x.shape(), w.shape(), y.shape(), call.as<Conv2dAttrs>()), x.data<T>(), w.data<T>(), y.data<T>());
}

template <class T>
void grad_x(const Call& call) {
  const Tensor &g = call.in[0], &w = call.in[1], &gx = call.out[0];
  cpu::conv2d_grad_x(conv_shape(gx.shape(), w.shape(), g.shape(), call.as<Conv2dGradXAttrs>()), g.data<T>(), w.data<T>(), gx.data<T>());
}

template <class T>
void grad_w(const Call& call) {
  const Tensor &x = call.in[0], &g = call.in[1], &gw = call.out[0];
  cpu::conv2d_grad_w(conv_shape(x.shape(), gw.shape(), g.shape(), call.as<Conv2dGradWAttrs>()), x.data<T>(), g.data<T>(), gw.data<T>());
}

#define KERNEL(id, op, function)                                                                                      \
  const KernelFor id(op, Device::cpu, [](const Call& call) {                                                          \
    in_one_dtype(call, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { function<decltype(t)>(c); }); }); \
  })
KERNEL(forward_cpu, "conv2d", forward);
KERNEL(grad_x_cpu, "conv2d_grad_x", grad_x);
KERNEL(grad_w_cpu, "conv2d_grad_w", grad_w);

}  // namespace
}  // namespace vitrine
