// The arithmetic and the orders of prelu_cpu.cc: the bits are the same.
#include "engine/ops/channel_sums.cuh"

namespace vitrine {
namespace {

using cuda::each, cuda::fill, cuda::ptr;

template <class T>
void forward(const Call& call) {
  const int64_t n = call.in[0].numel();
  const T *x = ptr<T>(call.in[0]), *slope = ptr<T>(call.in[1]);
  const cuda::ChannelOf channel_of(n, call.in[0].shape().back());
  fill(ptr<T>(call.out[0]), n, [=] __device__(int64_t i) { return x[i] > 0 ? x[i] : slope[channel_of(i)] * x[i]; });
}

template <class T>
struct Loaded {
  T x, g;
};

template <class T>
void gradient(const Call& call) {
  const int64_t c = call.in[0].shape().back();
  const T *x = ptr<T>(call.in[0]), *slope = ptr<T>(call.in[1]), *g = ptr<T>(call.in[2]);
  T *dx = ptr<T>(call.out[0]), *dslope = ptr<T>(call.out[1]);
  Tensor sums = cuda::channel_sums<1>(
      call.in[0].shape().rows(), c,
      [=] __device__(int64_t i, int64_t) {
        return Loaded<T>{x[i], g[i]};
      },
      [=] __device__(Loaded<T> v, int64_t i, int64_t k, double* sum) {
        const bool positive = v.x > 0;
        const T through = slope[k] * v.g;  // read in any case: so the compiler reads the slope once for all rows
        dx[i] = positive ? v.g : through;
        sum[0] += static_cast<double>(v.g) * (positive ? 0.0 : static_cast<double>(v.x));
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
