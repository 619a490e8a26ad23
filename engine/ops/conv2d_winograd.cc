#include "engine/ops/conv2d_winograd.h"

#include <algorithm>

#include "engine/core/op.h"

namespace vitrine {
namespace {

// Layers as wide as this have enough work in each transformed pixel to pay for the transforms.
constexpr int64_t kMinChannels = 16;
constexpr double kMinGain = 1.5;  // in multiplications: images much smaller than their tiles gain little

Conv2dAttrs padding(int64_t h, int64_t w) {
  Conv2dAttrs a;
  a.pad_h = h, a.pad_w = w;
  return a;
}

Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<WinogradAttrs&>(*attrs);
  CHECK(in.size() == 2 && in[1].shape.rank() == 4, "conv2d_winograd: expected x and weights of rank 4");
  CHECK(a.mirrored == 0 || a.mirrored == 1, "conv2d_winograd: mirrored ", a.mirrored, ": expected 0 or 1");
  for (int64_t pad : {a.pad_h, a.pad_w}) CHECK(pad >= 0 && pad <= 2, "conv2d_winograd: padding ", pad, ": expected 0 to 2");
  Meta w = in[1];
  CHECK(w.shape[1] == 3 && w.shape[2] == 3, "conv2d_winograd: weights ", w.shape, ": expected 3 x 3 taps");
  if (a.mirrored) std::swap(w.shape[0], w.shape[3]);
  Conv2dAttrs as_conv2d = padding(a.pad_h, a.pad_w);
  return op_named("conv2d").infer({in[0], w}, &as_conv2d);
}

Metas infer_grad_w(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<WinogradGradAttrs&>(*attrs);
  Conv2dGradWAttrs as_conv2d;
  as_conv2d.pad_h = a.pad_h, as_conv2d.pad_w = a.pad_w, as_conv2d.kh = as_conv2d.kw = 3;
  return op_named("conv2d_grad_w").infer(in, &as_conv2d);
}

WinogradAttrs with_padding(int64_t h, int64_t w, int64_t mirrored) {
  WinogradAttrs a;
  a.pad_h = h, a.pad_w = w, a.mirrored = mirrored;
  return a;
}
Tensor grad_w(const Tensor& x, const Tensor& g, int64_t pad_h, int64_t pad_w) {
  WinogradGradAttrs a;
  a.pad_h = pad_h, a.pad_w = pad_w;
  return conv2d_winograd_grad_w(x, g, a);
}

// As in conv2d.cc: three contractions of one trilinear form. Mirrored, x is the gradient of y and what comes out that of x.
Tensors backward(const Back& b) {
  auto& a = b.as<WinogradAttrs>();
  const Tensor &x = b.in[0], &w = b.in[1], &g = b.grad[0];
  const int64_t h = 2 - a.pad_h, width = 2 - a.pad_w;
  return {b.needs(0) ? conv2d_winograd(g, w, with_padding(h, width, !a.mirrored)) : Tensor(), !b.needs(1) ? Tensor()
                                                                                              : a.mirrored
                                                                                                  ? grad_w(g, x, h, width)
                                                                                                  : grad_w(x, g, a.pad_h, a.pad_w)};
}
Tensors backward_grad_w(const Back& b) {
  auto& a = b.as<WinogradGradAttrs>();
  const Tensor &x = b.in[0], &g = b.in[1], &d = b.grad[0];
  return {b.needs(0) ? conv2d_winograd(g, d, with_padding(2 - a.pad_h, 2 - a.pad_w, 1)) : Tensor(),
          b.needs(1) ? conv2d_winograd(x, d, with_padding(a.pad_h, a.pad_w, 0)) : Tensor()};
}

// Of the convolution they stand for, as papers count.
int64_t macs_grad_w(const Metas& in, const Metas& out, Attrs*) { return in[1].numel() * out[0].shape.product(1, 4); }
int64_t macs(const Metas& in, const Metas& out, Attrs*) { return out[0].numel() * 9 * in[0].shape[3]; }

const OpDef& op = define<WinogradAttrs>({.name = "conv2d_winograd", .infer = infer, .backward = backward, .macs = macs});
const OpDef& grad_w_op =
    define<WinogradGradAttrs>({.name = "conv2d_winograd_grad_w", .infer = infer_grad_w, .backward = backward_grad_w, .macs = macs_grad_w});

}  // namespace

Tensor conv2d_winograd(const Tensor& x, const Tensor& w, const WinogradAttrs& a) {
  return apply1(op, std::make_shared<WinogradAttrs>(a), {x, w});
}

Tensor conv2d_winograd_grad_w(const Tensor& x, const Tensor& g, const WinogradGradAttrs& a) {
  return apply1(grad_w_op, std::make_shared<WinogradGradAttrs>(a), {x, g});
}

bool pays_as_winograd(const Conv2dAttrs& a, const Shape& x, const Shape& w, const Shape& y) {
  if (w[1] != 3 || w[2] != 3 || a.groups != 1 || std::max({a.stride_h, a.stride_w, a.dilation_h, a.dilation_w}) != 1) return false;
  if (std::max(a.pad_h, a.pad_w) > 2) return false;
  const int64_t tiles = (y[1] + 3) / 4 * ((y[2] + 3) / 4);
  const double gain = static_cast<double>(y[1] * y[2] * 9) / static_cast<double>(tiles * 36);
  return std::min(x[3], w[0]) >= kMinChannels && gain >= kMinGain;
}

}  // namespace vitrine
