// The fast f32 convolutions that conv.cc chooses from; shapes and order law as in conv.h.
#pragma once
#include "engine/cpu/conv.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/tap_conv.h"

namespace vitrine::cpu {

void dense_forward(const Kernels&, const ConvShape&, const float* x, const float* w, float* y);
void dense_grad_x(const Kernels&, const ConvShape&, const float* g, const float* w, float* gx);
void dense_grad_w(const Kernels&, const ConvShape&, const float* x, const float* g, float* gw);

// groups == c == o: one channel per group. Packed weights: [tap][c], c rounded up to whole vectors.
inline bool is_depthwise(const ConvShape& s) { return s.groups == s.c && s.c == s.o; }
inline int64_t depthwise_floats(const Kernels& k, const ConvShape& s) { return s.kh * s.kw * round_up(s.c, k.lanes); }
void pack_depthwise(const Kernels&, const ConvShape&, const float* w, float* packed);
void run_depthwise(const Kernels&, const TapConv&, const float* packed);  // of a forward pass, all its taps
void depthwise_forward(const Kernels&, const ConvShape&, const float* x, const float* w, float* y, const Finish<float>* = nullptr);
void depthwise_grad_x(const Kernels&, const ConvShape&, const float* g, const float* w, float* gx);
void depthwise_grad_w(const Kernels&, const ConvShape&, const float* x, const float* g, float* gw);

}  // namespace vitrine::cpu
