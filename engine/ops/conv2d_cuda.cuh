// Convolutions by cuDNN and cuBLAS, for the kernels of conv2d and conv2d_fused.
#pragma once
#include "engine/core/mode.h"
#include "engine/cuda/launch.cuh"
#include "engine/cuda/library.h"
#include "engine/ops/cast.h"
#include "engine/ops/conv2d.h"

namespace vitrine::cuda {

// x, w and y of a convolution: the one that its direction writes, and the two that it reads.
struct Operands {
  Tensor x, w, y;
  Tensor& written(Direction d) { return d == Direction::forward ? y : d == Direction::grad_x ? x : w; }
};
inline Operands operands(Direction d, const Call& c) {
  if (d == Direction::forward) return {c.in[0], c.in[1], c.out[0]};
  return d == Direction::grad_x ? Operands{c.out[0], c.in[1], c.in[0]} : Operands{c.in[0], c.out[0], c.in[1]};
}

inline ConvProblem geometry(Direction d, const Operands& all, const Conv2dAttrs& a) {
  for (const Tensor* t : {&all.x, &all.w, &all.y})
    CHECK(t->numel() < int64_t{1} << 31, "conv2d: on cuda a tensor must have fewer than 2^31 elements, got ", str(t->meta()));
  auto i = [](int64_t v) { return static_cast<int>(v); };
  const Shape &xs = all.x.shape(), &ws = all.w.shape(), &ys = all.y.shape();
  return {d,        i(xs[0]),      i(xs[1]),      i(xs[2]),   i(xs[3]),   i(ws[0]),        i(ws[1]),        i(ws[2]),   i(ys[1]),
          i(ys[2]), i(a.stride_h), i(a.stride_w), i(a.pad_h), i(a.pad_w), i(a.dilation_h), i(a.dilation_w), i(a.groups)};
}

// The pixels of x that a 1x1 convolution with strides takes, [n,oh,ow,c]; and the other way: zeros between them.
inline Tensor taken_pixels(const ConvProblem& s, const Tensor& x) {
  const Tensor out = scratch<float>({s.n, s.oh, s.ow, s.c});
  const float* from = ptr<float>(x);
  const Divisor by_c(s.c), by_w(s.ow), by_h(s.oh);
  fill(ptr<float>(out), out.numel(), [=] __device__(int64_t i) {
    const uint32_t at = static_cast<uint32_t>(i), pixel = by_c.quotient(at), line = by_w.quotient(pixel);
    const int64_t y = by_h.remainder(line) * s.stride_h, x_ = by_w.remainder(pixel) * s.stride_w;
    return from[((by_h.quotient(line) * int64_t{s.h} + y) * s.w + x_) * s.c + by_c.remainder(at)];
  });
  return out;
}
inline void spread_pixels(const ConvProblem& s, const Tensor& taken, const Tensor& x) {
  const float* from = ptr<float>(taken);
  const Divisor by_c(s.c), by_w(s.w), by_h(s.h), down(s.stride_h), across(s.stride_w);
  fill(ptr<float>(x), x.numel(), [=] __device__(int64_t i) {
    const uint32_t at = static_cast<uint32_t>(i), pixel = by_c.quotient(at), line = by_w.quotient(pixel);
    const uint32_t y = by_h.remainder(line), x_ = by_w.remainder(pixel);
    const int64_t oy = down.quotient(y), ox = across.quotient(x_);
    const bool taken = down.remainder(y) == 0 && across.remainder(x_) == 0;
    return taken ? from[((by_h.quotient(line) * int64_t{s.oh} + oy) * s.ow + ox) * s.c + by_c.remainder(at)] : 0.0f;
  });
}

// A 1x1 convolution in f32 is a product of matrices, of the pixels that it takes.
inline bool by_product(const ConvProblem& s, const Operands& all) {
  if (s.kh * s.kw * s.groups != 1 || s.pad_h || s.pad_w) return false;
  for (const Tensor* t : {&all.x, &all.w, &all.y})
    if (t->dtype() != Dtype::f32) return false;
  const int64_t pixels = int64_t{s.n} * s.oh * s.ow;
  const bool every = s.stride_h * s.stride_w == 1;
  const float *w = ptr<float>(all.w), *y = ptr<float>(all.y);
  if (s.direction == Direction::grad_x) {
    const Tensor taken = every ? all.x : scratch<float>({s.n, s.oh, s.ow, s.c});
    if (!cublas_matmul(pixels, s.c, s.o, y, false, w, false, ptr<float>(taken))) return false;
    if (!every) spread_pixels(s, taken, all.x);
    return true;
  }
  const Tensor taken = every ? all.x : taken_pixels(s, all.x);
  if (s.direction == Direction::grad_w) return cublas_matmul(s.o, s.c, pixels, y, true, ptr<float>(taken), false, ptr<float>(all.w));
  return cublas_matmul(pixels, s.o, s.c, ptr<float>(taken), false, w, true, ptr<float>(all.y));
}

// By cuDNN, which reads bf16 where that is the precision and f32 otherwise: what is in the other is converted. False: it does not take
// this.
inline bool by_cudnn(const ConvProblem& s, Operands all, const Epilogue& e) {
  const Dtype reads = mode().precision == Mode::Precision::bf16 ? Dtype::bf16 : Dtype::f32;
  Tensor &written = all.written(s.direction), instead;
  const Tensor wanted = written;
  for (Tensor* t : {&all.x, &all.w, &all.y})
    if (t != &written) *t = converted(*t, reads);
  if (reads == Dtype::f32 && wanted.dtype() == Dtype::bf16) written = scratch<float>(wanted.shape());
  if (!cudnn_conv(s, all.x.raw(), all.w.raw(), all.y.raw(), e, written.dtype(), &instead)) return false;
  if (instead) written = instead;
  if (written.dtype() != wanted.dtype()) convert(written, wanted);
  return true;
}

// False: our own kernels do it.
inline bool by_library(Direction d, const Call& call) {
  if (!mode().libraries) return false;
  const Operands all = operands(d, call);
  for (const Tensor* t : {&all.x, &all.w, &all.y})
    if (t->dtype() == Dtype::f64) return false;
  const ConvProblem s = geometry(d, all, call.as<Conv2dAttrs>());
  return by_product(s, all) || by_cudnn(s, all, {});
}

}  // namespace vitrine::cuda
