// Passes over x: the statistics; the extremes where a range is observed; and the last, which computes, quantizes and writes. The arithmetic
// is that of the operators that these stand for, so the bits are theirs.
#include "quant/ops/norm_chain.h"

#include "engine/core/bf16.h"
#include "engine/ops/batch_norm_cuda.cuh"
#include "quant/ops/extremes.cuh"
#include "quant/ops/loops.h"

namespace vitrine::quant {
namespace {

using cuda::ptr;

template <class T, bool prelu>
struct ChainValue {
  cuda::Normalized<T> norm;
  const T* other;  // slope or shortcut
  __device__ T operator()(int64_t i) const {
    if (!prelu) return norm(i) + other[i];
    const int64_t k = norm.channel_of(i);
    const T u = norm(i, k);
    return u > 0 ? u : other[k] * u;
  }
};

// y[i] = f(i), in T or rounded to bf16.
template <class T, class F>
void write(const Tensor& y, const F& f) {
  if (y.dtype() != Dtype::bf16) return cuda::fill(ptr<T>(y), y.numel(), f);
  cuda::fill(static_cast<uint16_t*>(y.raw()), y.numel(), [=] __device__(int64_t i) { return to_bf16(static_cast<float>(f(i))); });
}

template <class T, bool prelu>
void run(const Call& call) {
  auto& a = call.as<NormChainAttrs>();
  const int64_t n = call.in[0].numel();
  const Tensor scale = cuda::batch_statistics<T>(call, a.eps, a.momentum);
  const ChainValue<T, prelu> value{
      {ptr<T>(call.in[0]), ptr<T>(call.out[1]), ptr<T>(scale), ptr<T>(call.in[2]), {n, call.in[0].shape().back()}}, ptr<T>(call.in[5])};
  const Tensor& y = call.out[0];
  if (!a.bits) return write<T>(y, value);
  const T* range = ptr<T>(call.in[6]);
  if (a.observed) {
    T* next = ptr<T>(call.out[5]);
    cuda::each(2, [=] __device__(int64_t i) { next[i] = range[i]; });
    widen(n, value, next);
    range = next;
  }
  const int64_t bits = a.bits;
  write<T>(y, [=] __device__(int64_t i) {
    const QuantParamsOf<T> p = quant_params_of<T>(range[0], range[1], bits);
    return dequantize(quantize_code(value(i), p), p);
  });
}

template <class T>
void gradient(const Call& call) {
  auto in = [&](int i) { return ptr<T>(call.in[i]); };  // g, x, gamma, beta, mean, rstd, slope
  auto out = [&](int i) { return ptr<T>(call.out[i]); };
  cuda::norm_gradient<T, true>({in(0), in(1), in(2), in(4), in(5), out(0), out(1), out(2), in(3), in(6), out(3)}, call.in[1].shape().rows(),
                               call.in[1].shape().back());
}

#define KERNEL(id, op, ...)                          \
  KernelFor id(op, Device::cuda, [](const Call& c) { \
    by_float(c.in[0].dtype(), [&](auto t) {          \
      using T = decltype(t);                         \
      __VA_ARGS__(c);                                \
    });                                              \
  })
KERNEL(prelu_kernel, "batch_norm_prelu", run<T, true>);
KERNEL(add_kernel, "batch_norm_add", run<T, false>);
KERNEL(grad_kernel, "batch_norm_prelu_grad", gradient<T>);

}  // namespace
}  // namespace vitrine::quant
