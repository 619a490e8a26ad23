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

// As in conv2d.cc: three contractions of one trilinear form. Mirrored, x is the gradient of y and what comes out that of x.
Tensors backward(const Back& b) {
  auto& a = b.as<WinogradAttrs>();
  const Tensor &x = b.in[0], &w = b.in[1], &g = b.grad[0];
  WinogradAttrs other;
  other.pad_h = 2 - a.pad_h, other.pad_w = 2 - a.pad_w, other.mirrored = !a.mirrored;
  Tensor gw;
  if (b.needs(1))
    gw = a.mirrored ? conv2d_grad_w(g, x, padding(other.pad_h, other.pad_w), 3, 3) : conv2d_grad_w(x, g, padding(a.pad_h, a.pad_w), 3, 3);
  return {b.needs(0) ? conv2d_winograd(g, w, other) : Tensor(), gw};
}

// Of the convolution it stands for, as papers count.
int64_t macs(const Metas& in, const Metas& out, Attrs*) { return out[0].numel() * 9 * in[0].shape[3]; }

const OpDef& op = define<WinogradAttrs>({.name = "conv2d_winograd", .infer = infer, .backward = backward, .macs = macs});

}  // namespace

Tensor conv2d_winograd(const Tensor& x, const Tensor& w, const WinogradAttrs& a) {
  return apply1(op, std::make_shared<WinogradAttrs>(a), {x, w});
}

bool pays_as_winograd(const Conv2dAttrs& a, const Shape& x, const Shape& w, const Shape& y) {
  if (w[1] != 3 || w[2] != 3 || a.groups != 1 || a.stride_h * a.stride_w * a.dilation_h * a.dilation_w != 1) return false;
  if (std::max(a.pad_h, a.pad_w) > 2) return false;
  const int64_t tiles = (y[1] + 3) / 4 * ((y[2] + 3) / 4);
  const double gain = static_cast<double>(y[1] * y[2] * 9) / static_cast<double>(tiles * 36);
  return std::min(x[3], w[0]) >= kMinChannels && gain >= kMinGain;
}

}  // namespace vitrine
