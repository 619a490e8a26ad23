// cuDNN and cuBLAS, opened when first used (library.cc): one program starts everywhere, and says what is missing. Row-major f32 on the
// device. Each call returns false if the library is absent, is switched off (Mode), or cannot do this shape deterministically: then our
// own kernel runs. cuDNN's algorithms are its first deterministic choice for the shape, found once and kept.
#pragma once
#include <cstdint>
#include <string>

namespace vitrine::cuda {

// c[m][n] = op(a)[m][k] * op(b)[k][n]; a is stored [k][m] if ta, b is stored [n][k] if tb.
bool cublas_matmul(int64_t m, int64_t n, int64_t k, const float* a, bool ta, const float* b, bool tb, float* c);

enum class Direction : uint8_t { forward, grad_x, grad_w };
struct ConvProblem {
  Direction direction;
  int n, h, w, c, o, kh, kw, oh, ow, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
  auto operator<=>(const ConvProblem&) const = default;
};
// x [n,h,w,c], weights [o,kh,kw,c/groups], y [n,oh,ow,o]: two are read, the third (by direction: y, x, weights) is written.
// f32, or bf16 where that is the precision (Mode).
bool cudnn_conv(const ConvProblem&, void* x, void* w, void* y);

// Opponents of our integer layers, for benchmarks: s8 inputs, exact sums as i32 or f32, no zero points and no epilogue. False where the
// library does not take the shape.
bool cublas_matmul_int8(int64_t m, int64_t n, int64_t k, const void* a, const void* b, void* c);  // c[m][n] = a[m][k] * b[n][k]
bool cudnn_conv_int8(const ConvProblem&, void* x, void* w, void* y);

std::string libraries();  // "cuDNN 9.13.0, cuBLAS 13.0.0.19", or which of them is not there and why

}  // namespace vitrine::cuda
