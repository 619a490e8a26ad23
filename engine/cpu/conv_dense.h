// The fast f32 convolutions that conv.cc chooses from; shapes and order law as in conv.h.
#pragma once
#include "engine/cpu/conv.h"
#include "engine/cpu/kernels.h"

namespace vitrine::cpu {

void dense_forward(const Kernels&, const ConvShape&, const float* x, const float* w, float* y);
void dense_grad_x(const Kernels&, const ConvShape&, const float* g, const float* w, float* gx);
void dense_grad_w(const Kernels&, const ConvShape&, const float* x, const float* g, float* gw);

// groups == c == o: one channel per group.
inline bool is_depthwise(const ConvShape& s) { return s.groups == s.c && s.c == s.o; }
void depthwise_forward(const Kernels&, const ConvShape&, const float* x, const float* w, float* y);
void depthwise_grad_x(const Kernels&, const ConvShape&, const float* g, const float* w, float* gx);
void depthwise_grad_w(const Kernels&, const ConvShape&, const float* x, const float* g, float* gw);

}  // namespace vitrine::cpu
