// Convolutions by cuDNN and cuBLAS, for the kernels of conv2d and conv2d_fused.
#pragma once
#include "engine/core/bf16.h"
#include "engine/core/mode.h"
#include "engine/cuda/launch.cuh"
#include "engine/cuda/library.h"
#include "engine/ops/conv2d.h"

namespace vitrine::cuda {

inline ConvProblem geometry(Direction d, const Tensor& x, const Tensor& w, const Tensor& y, const Conv2dAttrs& a) {
  for (const Tensor* t : {&x, &w, &y})
    CHECK(t->numel() < int64_t{1} << 31, "conv2d: on cuda a tensor must have fewer than 2^31 elements, got ", str(t->meta()));
  auto i = [](int64_t v) { return static_cast<int>(v); };
  const Shape &xs = x.shape(), &ws = w.shape(), &ys = y.shape();
  return {d,        i(xs[0]),      i(xs[1]),      i(xs[2]),   i(xs[3]),   i(ws[0]),        i(ws[1]),        i(ws[2]),   i(ys[1]),
          i(ys[2]), i(a.stride_h), i(a.stride_w), i(a.pad_h), i(a.pad_w), i(a.dilation_h), i(a.dilation_w), i(a.groups)};
}

inline Tensor halves(const Shape& shape) { return Tensor::empty({shape, Dtype::bf16, Device::cuda}); }
inline Tensor rounded(const Tensor& t) {
  Tensor half = halves(t.shape());
  const float* from = ptr<float>(t);
  fill(static_cast<uint16_t*>(half.raw()), t.numel(), [=] __device__(int64_t i) { return to_bf16(from[i]); });
  return half;
}
template <class T>
void widen(const Tensor& half, const Tensor& t) {
  const auto* from = static_cast<const uint16_t*>(half.raw());
  fill(ptr<T>(t), t.numel(), [=] __device__(int64_t i) { return T(from_bf16(from[i])); });
}
template <class T>
Tensor widened(const Tensor& t) {
  if (t.dtype() != Dtype::bf16) return t;
  const Tensor wide = scratch<T>(t.shape());
  widen<T>(t, wide);
  return wide;
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
    const bool taken = down.remainder(y) == 0 && across.remainder(x_) == 0 && oy < s.oh && ox < s.ow;
    return taken ? from[((by_h.quotient(line) * int64_t{s.oh} + oy) * s.ow + ox) * s.c + by_c.remainder(at)] : 0.0f;
  });
}

// A 1x1 convolution is a product of matrices, of the pixels that it takes.
inline bool by_product(const ConvProblem& s, const Tensor& x, const Tensor& w, const Tensor& y) {
  if (s.kh * s.kw * s.groups != 1 || s.pad_h || s.pad_w) return false;
  const int64_t pixels = int64_t{s.n} * s.oh * s.ow;
  const bool all = s.stride_h * s.stride_w == 1;
  auto f = [](const Tensor& t) { return ptr<float>(t); };
  if (s.direction == Direction::grad_x) {
    const Tensor taken = all ? x : scratch<float>({s.n, s.oh, s.ow, s.c});
    if (!cublas_matmul(pixels, s.c, s.o, f(y), false, f(w), false, f(taken))) return false;
    if (!all) spread_pixels(s, taken, x);
    return true;
  }
  const Tensor taken = all ? x : taken_pixels(s, x);
  if (s.direction == Direction::grad_w) return cublas_matmul(s.o, s.c, pixels, f(y), true, f(taken), false, f(w));
  return cublas_matmul(pixels, s.o, s.c, f(taken), false, f(w), true, f(y));
}

// By cuDNN: what it reads is rounded first where the precision is bf16, and f32 otherwise. False: it does not take this.
inline bool by_cudnn(const ConvProblem& s, const Tensor& x, const Tensor& w, const Tensor& y, const Epilogue& e) {
  const Tensor& written = s.direction == Direction::grad_x ? x : s.direction == Direction::grad_w ? w : y;
  const bool in_halves = mode().precision == Mode::Precision::bf16;
  auto operand = [&](const Tensor& t) {
    return &t == &written ? t : !in_halves ? widened<float>(t) : t.dtype() == Dtype::f32 ? rounded(t) : t;
  };
  const Tensor hx = operand(x), hw = operand(w), hy = operand(y);
  Tensor half;
  if (!cudnn_conv(s, hx.raw(), hw.raw(), hy.raw(), e, &half)) return false;
  if (half) widen<float>(half, written);
  return true;
}

// x, w and y in f32, or those that are read in bf16; false: our own kernels do it.
template <class T>
bool by_library(const ConvProblem& s, const Tensor& x, const Tensor& w, const Tensor& y) {
  if (!std::is_same_v<T, float> || !mode().libraries) return false;
  const bool wide = x.dtype() == y.dtype() && w.dtype() == y.dtype() && y.dtype() == Dtype::f32;
  return (wide && by_product(s, x, w, y)) || by_cudnn(s, x, w, y, {});
}

}  // namespace vitrine::cuda
