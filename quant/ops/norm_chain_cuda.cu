// Passes over x: the statistics; the extremes where a range is observed; and the last, which computes, quantizes and writes. The arithmetic
// is that of the operators that these stand for, so the bits are theirs.
#include "quant/ops/norm_chain.h"

#include "engine/ops/batch_norm_cuda.cuh"
#include "quant/ops/extremes.cuh"
#include "quant/ops/loops.h"

namespace vitrine::quant {
namespace {

using cuda::ptr;

template <class T, bool prelu, class X>
struct ChainValue {
  cuda::Normalized<T, X> norm;
  const T* other;  // slope or shortcut
  __device__ T operator()(int64_t i) const {
    if (!prelu) return norm(i) + other[i];
    const int64_t k = norm.channel_of(i);
    const T u = norm(i, k), through = other[k] * u;
    return u > 0 ? u : through;
  }
};

// y[i] = f(i), in T or rounded to bf16.
template <class T, class F>
void write(const Tensor& y, const F& f) {
  by_stored<T>(y.dtype(), [&](auto t) { cuda::fill(ptr<decltype(t)>(y), y.numel(), f); });
}

template <class T, bool prelu, class X>
void run(const Call& call) {
  auto& a = call.as<NormChainAttrs>();
  const int64_t n = call.in[0].numel();
  const Tensor scale = cuda::batch_statistics<T, X>(call, a.eps, a.momentum);
  const ChainValue<T, prelu, X> value{
      {ptr<X>(call.in[0]), ptr<T>(call.out[1]), ptr<T>(scale), ptr<T>(call.in[2]), {n, call.in[0].shape().back()}}, ptr<T>(call.in[5])};
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

template <class T, class G, class X>
void gradient(const Call& call) {
  auto in = [&](int i) { return ptr<T>(call.in[i]); };  // g, x, gamma, beta, mean, rstd, slope
  auto out = [&](int i) { return ptr<T>(call.out[i]); };
  cuda::norm_gradient<T, true, G, X>(
      {ptr<G>(call.in[0]), ptr<X>(call.in[1]), in(2), in(4), in(5), ptr<X>(call.out[0]), out(1), out(2), in(3), in(6), out(3)},
      call.in[1].shape().rows(), call.in[1].shape().back());
}

template <bool prelu>
void forward(const Call& c) {
  by_float(c.in[1].dtype(), [&](auto t) {
    using T = decltype(t);
    by_stored<T>(c.in[0].dtype(), [&](auto x) { run<T, prelu, decltype(x)>(c); });
  });
}
KernelFor prelu_kernel("batch_norm_prelu", Device::cuda, forward<true>);
KernelFor add_kernel("batch_norm_add", Device::cuda, forward<false>);
KernelFor grad_kernel("batch_norm_prelu_grad", Device::cuda, [](const Call& c) {
  by_float(c.in[2].dtype(), [&](auto t) {
    using T = decltype(t);
    by_stored<T>(c.in[0].dtype(),
                 [&](auto g) { by_stored<T>(c.in[1].dtype(), [&](auto x) { gradient<T, decltype(g), decltype(x)>(c); }); });
  });
});

}  // namespace
}  // namespace vitrine::quant
