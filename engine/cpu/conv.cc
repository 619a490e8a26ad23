#include "engine/cpu/conv.h"

#include "engine/cpu/conv_dense.h"
#include "engine/cpu/conv_reference.h"
#include "engine/cpu/isa.h"

namespace vitrine::cpu {
void conv2d(const ConvShape& s, const double* x, const double* w, double* y) { reference::conv2d(s, x, w, y); }
void conv2d_grad_x(const ConvShape& s, const double* g, const double* w, double* gx) { reference::conv2d_grad_x(s, g, w, gx); }
void conv2d_grad_w(const ConvShape& s, const double* x, const double* g, double* gw) { reference::conv2d_grad_w(s, x, g, gw); }

void conv2d(const ConvShape& s, const float* x, const float* w, float* y) {
  if (isa() == Isa::plain) return reference::conv2d(s, x, w, y);
  is_depthwise(s) ? depthwise_forward(kernels(), s, x, w, y) : dense_forward(kernels(), s, x, w, y);
}

void conv2d_grad_x(const ConvShape& s, const float* g, const float* w, float* gx) {
  if (isa() == Isa::plain) return reference::conv2d_grad_x(s, g, w, gx);
  (is_depthwise(s) ? depthwise_grad_x : dense_grad_x)(kernels(), s, g, w, gx);
}

void conv2d_grad_w(const ConvShape& s, const float* x, const float* g, float* gw) {
  if (isa() == Isa::plain) return reference::conv2d_grad_w(s, x, g, gw);
  (is_depthwise(s) ? depthwise_grad_w : dense_grad_w)(kernels(), s, x, g, gw);
}

}  // namespace vitrine::cpu
