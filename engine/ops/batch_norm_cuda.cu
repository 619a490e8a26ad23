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
  fill(ptr<T>(call.out[0]), n, Normalized<T>{ptr<T>(call.in[0]), ptr<T>(call.in[3]), scale, ptr<T>(call.in[2]), {n, c}});
}

template <class T>
void train(const Call& call) {
  const auto& a = call.as<BatchNormTrainAttrs>();
  const int64_t n = call.in[0].numel(), c = call.in[0].shape().back();
  const Tensor scale = cuda::batch_statistics<T>(call, a.eps, a.momentum);
  fill(ptr<T>(call.out[0]), n, Normalized<T>{ptr<T>(call.in[0]), ptr<T>(call.out[1]), ptr<T>(scale), ptr<T>(call.in[2]), {n, c}});
}

template <class T>
void gradient(const Call& call) {
  auto in = [&](int i) { return ptr<T>(call.in[i]); };
  auto out = [&](int i) { return ptr<T>(call.out[i]); };
  cuda::norm_gradient<T, false>({in(0), in(1), in(2), in(3), in(4), out(0), out(1), out(2)}, call.in[0].shape().rows(),
                                call.in[0].shape().back());
}

#define KERNEL(id, op, function) \
  KernelFor id(op, Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { function<decltype(t)>(c); }); })
KERNEL(eval_kernel, "batch_norm", evaluate);
KERNEL(train_kernel, "batch_norm_train", train);
KERNEL(grad_kernel, "batch_norm_grad", gradient);

}  // namespace
}  // namespace vitrine
