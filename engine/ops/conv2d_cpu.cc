#include "engine/cpu/conv.h"
#include "engine/ops/conv2d.h"

namespace vitrine {
namespace {

cpu::ConvShape conv_shape(const Shape& x, const Shape& w, const Shape& y, const Conv2dAttrs& a) {
  return {x[0], x[1],       x[2],       x[3],    w[0],    w[1],         w[2],         y[1],
          y[2], a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dilation_h, a.dilation_w, a.groups};
}

void forward(const Call& call) {
  const Tensor &x = call.in[0], &w = call.in[1], &y = call.out[0];
  auto s = conv_shape(x.shape(), w.shape(), y.shape(), call.as<Conv2dAttrs>());
  if (x.dtype() == Dtype::f32)
    cpu::conv2d(s, x.data<float>(), w.data<float>(), y.data<float>());
  else
    cpu::conv2d(s, x.data<double>(), w.data<double>(), y.data<double>());
}

void grad_x(const Call& call) {
  const Tensor &g = call.in[0], &w = call.in[1], &gx = call.out[0];
  auto s = conv_shape(gx.shape(), w.shape(), g.shape(), call.as<Conv2dGradXAttrs>());
  if (g.dtype() == Dtype::f32)
    cpu::conv2d_grad_x(s, g.data<float>(), w.data<float>(), gx.data<float>());
  else
    cpu::conv2d_grad_x(s, g.data<double>(), w.data<double>(), gx.data<double>());
}

void grad_w(const Call& call) {
  const Tensor &x = call.in[0], &g = call.in[1], &gw = call.out[0];
  auto s = conv_shape(x.shape(), gw.shape(), g.shape(), call.as<Conv2dGradWAttrs>());
  if (x.dtype() == Dtype::f32)
    cpu::conv2d_grad_w(s, x.data<float>(), g.data<float>(), gw.data<float>());
  else
    cpu::conv2d_grad_w(s, x.data<double>(), g.data<double>(), gw.data<double>());
}

const KernelFor forward_cpu("conv2d", Device::cpu, forward);
const KernelFor grad_x_cpu("conv2d_grad_x", Device::cpu, grad_x);
const KernelFor grad_w_cpu("conv2d_grad_w", Device::cpu, grad_w);

}  // namespace
}  // namespace vitrine
