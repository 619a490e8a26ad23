// cuDNN and cuBLAS, opened when first used (loaded.h): one program starts everywhere, and says what is missing. Row-major f32 on the
// device. Each call returns false if the library is absent, is switched off (Mode), or cannot do this shape by our rules: then our own
// kernel runs.
//
// cuDNN's plan for a shape is the first that its heuristic names (mode A, then its fallback) and that is deterministic, adds in f32,
// converts no input to fewer bits (strict f32: no tensor cores, which round to TF32), is no Fourier transform, works within a quarter of
// the device's memory and, with an epilogue, runs on tensor cores; found once and kept. Where the mode says "tuned": the fastest of the
// first eight.
#pragma once
#include <cstdint>
#include <string>

#include "engine/core/tensor.h"

namespace vitrine::cuda {

// c[m][n] = op(a)[m][k] * op(b)[k][n]; a is stored [k][m] if ta, b is stored [n][k] if tb.
bool cublas_matmul(int64_t m, int64_t n, int64_t k, const float* a, bool ta, const float* b, bool tb, float* c);

// The same for `count` products, whose operands lie one behind the other.
bool cublas_matmuls(int64_t count, int64_t m, int64_t n, int64_t k, const float* a, bool ta, const float* b, bool tb, float* c);

enum class Direction : uint8_t { forward, grad_x, grad_w };
struct ConvProblem {
  Direction direction;
  int n, h, w, c, o, kh, kw, oh, ow, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
  auto operator<=>(const ConvProblem&) const = default;
};

// Behind a forward convolution, in f32 and in this order, each unless it is null: + shift[o]; y > 0 ? y : slope[o] y; + residual.
struct Epilogue {
  const float *shift = nullptr, *slope = nullptr, *residual = nullptr;
};

// x [n,h,w,c], weights [o,kh,kw,c/groups], y [n,oh,ow,o]: two are read, the third (by direction: y, x, weights) is written. What is read
// is f32, or bf16 where that is the precision (Mode). What is written is as wished f32 or, in that precision, bf16; where cuDNN writes the
// other only (or fast), `instead` becomes a tensor with that, to be converted by the caller.
bool cudnn_conv(const ConvProblem&, void* x, void* w, void* y, const Epilogue&, Dtype wished, Tensor* instead);

// Opponents of our integer layers, for benchmarks: s8 inputs, exact sums, no zero points and no epilogue. False where the library does not
// take the shape. y is s8, saturated: what its fast kernels write, and as many bytes as our codes. c is i32.
bool cublas_matmul_int8(int64_t m, int64_t n, int64_t k, const void* a, const void* b, void* c);  // c[m][n] = a[m][k] * b[n][k]
bool cudnn_conv_int8(const ConvProblem&, void* x, void* w, void* y);

std::string cudnn_text();  // "cuDNN 9.13.0", or that it is not there and why
std::string cublas_text();
std::string libraries();  // both

}  // namespace vitrine::cuda
