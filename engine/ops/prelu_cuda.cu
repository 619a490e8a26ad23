// The arithmetic and the orders of prelu_cpu.cc: the bits are the same.
#include "engine/ops/channel_sums.cuh"

namespace vitrine {
namespace {

using cuda::each, cuda::ptr;

template <class T>
void forward(const Call& call) {
  const int64_t c = call.in[0].shape().back();
  const T *x = ptr<T>(call.in[0]), *slope = ptr<T>(call.in[1]);
  T* y = ptr<T>(call.out[0]);
  each(call.in[0].numel(), [=] __device__(int64_t i) { y[i] = x[i] > 0 ? x[i] : slope[i % c] * x[i]; });
}

template <class T>
void gradient(const Call& call) {
  const int64_t c = call.in[0].shape().back();
  const T *x = ptr<T>(call.in[0]), *slope = ptr<T>(call.in[1]), *g = ptr<T>(call.in[2]);
  T *dx = ptr<T>(call.out[0]), *dslope = ptr<T>(call.out[1]);
  Tensor sums = cuda::channel_sums(call.in[0].shape().rows(), c, [=] __device__(int64_t r, int64_t k, double& s, double&) {
    const int64_t i = r * c + k;
    const bool positive = x[i] > 0;
    dx[i] = positive ? g[i] : slope[k] * g[i];
    s += static_cast<double>(g[i]) * (positive ? 0.0 : static_cast<double>(x[i]));
  });
  const double* sum = ptr<double>(sums);
  each(c, [=] __device__(int64_t k) { dslope[k] = static_cast<T>(sum[k]); });
}

KernelFor forward_kernel("prelu", Device::cuda,
                         [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { forward<decltype(t)>(c); }); });
KernelFor grad_kernel("prelu_grad", Device::cuda,
                      [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { gradient<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
