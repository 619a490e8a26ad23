#include "engine/ops/batch_norm.h"

#include "engine/ops/batch_norm_cuda.cuh"

namespace vitrine {
namespace {

using cuda::each, cuda::fill, cuda::Normalized, cuda::ptr;

template <class T>
void evaluate(const Call& call) {
  const int64_t n = call.in[0].numel(), c = call.in[0].shape().back();
  const T *gamma = ptr<T>(call.in[1]), *var = ptr<T>(call.in[4]);
  const double eps = call.as<BatchNormAttrs>().eps;
  Tensor scales = cuda::scratch<T>({c});
  T* scale = ptr<T>(scales);
  each(c, [=] __device__(int64_t k) { scale[k] = gamma[k] * cuda::reciprocal_std<T>(static_cast<double>(var[k]), eps); });
  fill(ptr<T>(call.out[0]), n, Normalized<T, T>{ptr<T>(call.in[0]), ptr<T>(call.in[3]), scale, ptr<T>(call.in[2]), {n, c}});
}

template <class T, class X>
void train(const Call& call) {
  const auto& a = call.as<BatchNormTrainAttrs>();
  const int64_t n = call.in[0].numel(), c = call.in[0].shape().back();
  const Tensor scale = cuda::batch_statistics<T, X>(call, a.eps, a.momentum), &y = call.out[0];
  const Normalized<T, X> norm{ptr<X>(call.in[0]), ptr<T>(call.out[1]), ptr<T>(scale), ptr<T>(call.in[2]), {n, c}};
  by_stored<T>(y.dtype(), [&](auto t) { fill(ptr<decltype(t)>(y), n, norm); });
}

template <class T, class G, class X>
void gradient(const Call& call) {
  auto in = [&](int i) { return ptr<T>(call.in[i]); };
  auto out = [&](int i) { return ptr<T>(call.out[i]); };
  cuda::norm_gradient<T, false, G, X>({ptr<G>(call.in[0]), ptr<X>(call.in[1]), in(2), in(3), in(4), ptr<X>(call.out[0]), out(1), out(2)},
                                      call.in[0].shape().rows(), call.in[0].shape().back());
}

KernelFor eval_kernel("batch_norm", Device::cuda,
                      [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { evaluate<decltype(t)>(c); }); });
KernelFor train_kernel("batch_norm_train", Device::cuda, [](const Call& c) {
  by_float(c.in[1].dtype(), [&](auto t) {
    using T = decltype(t);
    by_stored<T>(c.in[0].dtype(), [&](auto x) { train<T, decltype(x)>(c); });
  });
});
KernelFor grad_kernel("batch_norm_grad", Device::cuda, [](const Call& c) {
  by_float(c.in[2].dtype(), [&](auto t) {
    using T = decltype(t);
    by_stored<T>(c.in[0].dtype(),
                 [&](auto g) { by_stored<T>(c.in[1].dtype(), [&](auto x) { gradient<T, decltype(g), decltype(x)>(c); }); });
  });
});

}  // namespace
}  // namespace vitrine
