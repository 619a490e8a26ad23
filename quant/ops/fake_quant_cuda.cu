// The codes of the cpu, bit for bit (built with -fmad=false).
#include <algorithm>

#include "engine/cuda/block.cuh"
#include "quant/ops/loops.h"

namespace vitrine::quant {
namespace {

using cuda::fill, cuda::ptr;

template <class T>
__device__ T quantized(T x, const QuantParamsOf<T>& p) {
  return dequantize(quantize_code(x, p), p);
}

template <class T>
void fake_quant(const Call& c) {
  const T *x = ptr<T>(c.in[0]), *range = ptr<T>(c.in[1]);
  const int64_t bits = c.as<FakeQuantAttrs>().bits;
  fill(ptr<T>(c.out[0]), c.in[0].numel(),
       [=] __device__(int64_t i) { return quantized(x[i], quant_params_of<T>(range[0], range[1], bits)); });
}

// The squared errors of a row for all candidates at once: eight threads each, whose chains are added in order.
template <class T>
__device__ const double* squared_errors(const T* w, int64_t n, int64_t bits, const Candidates& c) {
  static_assert(cuda::kBlock == 8 * Candidates::kMost);
  __shared__ double errors[Candidates::kMost];
  const int k = threadIdx.x / 8, chain = threadIdx.x % 8, first = threadIdx.x % 32 / 8 * 8;
  double own = 0, sum = 0;
  if (k < c.count) {
    const auto [lo, hi] = c.at(k);
    const QuantParamsOf<T> p = quant_params_of<T>(lo, hi, bits);
    for (int64_t i = chain; i < n; i += 8) {
      const double d = static_cast<double>(w[i]) - static_cast<double>(quantized(w[i], p));
      own += d * d;
    }
  }
  for (int lane = 0; lane < 8; ++lane) sum += __shfl_sync(0xffffffffu, own, first + lane);
  __syncthreads();  // the last candidates' errors may still be read
  if (chain == 0) errors[k] = sum;
  __syncthreads();
  return errors;
}

// One range per row. A block for each that is long, or whose range is searched.
template <class T>
void quantize_by_blocks(int64_t rows, int64_t n, const T* all, T* out, int64_t bits, bool mse) {
  cuda::each_block(rows, [=] __device__(int64_t r) {
    const T* w = all + r * n;
    T low = INFINITY, high = -INFINITY;
    for (int64_t i = threadIdx.x; i < n; i += cuda::kBlock) low = cuda::Least()(low, w[i]), high = cuda::Most()(high, w[i]);
    T lo = cuda::block_reduce(low, cuda::Least()), hi = cuda::block_reduce(high, cuda::Most());
    if (mse) {
      const auto cut =
          shrunken_by(static_cast<float>(lo), static_cast<float>(hi), [=](const Candidates& c) { return squared_errors(w, n, bits, c); });
      lo = cut.first, hi = cut.second;
    }
    const QuantParamsOf<T> p = quant_params_of<T>(lo, hi, bits);
    for (int64_t i = threadIdx.x; i < n; i += cuda::kBlock) out[r * n + i] = quantized(w[i], p);
  });
}
// A warp for each row.
template <class T>
__global__ void weight_kernel(int64_t rows, int64_t n, const T* all, T* out, int64_t bits) {
  const int lane = threadIdx.x % 32, warps = cuda::kBlock / 32;
  for (int64_t r = int64_t{blockIdx.x} * warps + threadIdx.x / 32; r < rows; r += int64_t{gridDim.x} * warps) {
    const T* w = all + r * n;
    T low = INFINITY, high = -INFINITY;
    for (int64_t i = lane; i < n; i += 32) low = cuda::Least()(low, w[i]), high = cuda::Most()(high, w[i]);
    const T lo = cuda::warp_reduce(low, cuda::Least()), hi = cuda::warp_reduce(high, cuda::Most());
    const QuantParamsOf<T> p = quant_params_of<T>(lo, hi, bits);
    for (int64_t i = lane; i < n; i += 32) out[r * n + i] = quantized(w[i], p);
  }
}

template <class T>
void fake_quant_weight(const Call& c) {
  auto& a = c.as<FakeQuantWeightAttrs>();
  const int64_t rows = a.per_channel ? c.in[0].shape()[0] : 1, n = rows ? c.in[0].numel() / rows : 0;
  if (n == 0) return;
  constexpr int64_t kLong = 4096;
  if (a.mse || n >= kLong) return quantize_by_blocks(rows, n, ptr<T>(c.in[0]), ptr<T>(c.out[0]), a.bits, a.mse != 0);
  const auto blocks = static_cast<unsigned>(std::min((rows * 32 + cuda::kBlock - 1) / cuda::kBlock, cuda::kMostRows));
  LAUNCH((weight_kernel<T>), blocks, cuda::kBlock, rows, n, ptr<T>(c.in[0]), ptr<T>(c.out[0]), a.bits);
}

template <class T>
void clip(const Call& c) {
  const T *x = ptr<T>(c.in[0]), *range = ptr<T>(c.in[1]);
  fill(ptr<T>(c.out[0]), c.in[0].numel(), [=] __device__(int64_t i) {
    return x[i] < range[0] ? range[0] : x[i] > range[1] ? range[1] : x[i];
  });
}

template <class T>
void clip_grad(const Call& c) {
  const T *x = ptr<T>(c.in[0]), *range = ptr<T>(c.in[1]), *g = ptr<T>(c.in[2]);
  fill(ptr<T>(c.out[0]), c.in[0].numel(), [=] __device__(int64_t i) { return x[i] < range[0] || x[i] > range[1] ? T(0) : g[i]; });
}

#define KERNEL(id, op, function) \
  KernelFor id(op, Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { function<decltype(t)>(c); }); })
KERNEL(fake_quant_kernel, "fake_quant", fake_quant);
KERNEL(weight_kernel_, "fake_quant_weight", fake_quant_weight);
KERNEL(clip_kernel, "clip", clip);
KERNEL(clip_grad_kernel, "clip_grad", clip_grad);

}  // namespace
}  // namespace vitrine::quant
