// The arithmetic and the orders of batch_norm_cpu.cc, operation by operation: the bits are the same.
#include "engine/ops/batch_norm.h"

#include "engine/ops/channel_sums.cuh"

namespace vitrine {
namespace {

using cuda::each, cuda::ptr;

template <class T>
__device__ T reciprocal_std(double var, double eps) {
  return static_cast<T>(1.0 / ::sqrt(var + eps));
}

template <class T>
void apply_affine(const T* x, T* y, int64_t n, int64_t c, const T* mean, const T* scale, const T* beta) {
  each(n, [=] __device__(int64_t i) {
    const int64_t k = i % c;
    y[i] = (x[i] - mean[k]) * scale[k] + beta[k];
  });
}

template <class T>
void evaluate(const Call& call) {
  const int64_t c = call.in[0].shape().back();
  const T *gamma = ptr<T>(call.in[1]), *var = ptr<T>(call.in[4]);
  const double eps = call.as<BatchNormAttrs>().eps;
  Tensor scales = cuda::scratch<T>({c});
  T* scale = ptr<T>(scales);
  each(c, [=] __device__(int64_t k) { scale[k] = gamma[k] * reciprocal_std<T>(static_cast<double>(var[k]), eps); });
  apply_affine(ptr<T>(call.in[0]), ptr<T>(call.out[0]), call.in[0].numel(), c, ptr<T>(call.in[3]), scale, ptr<T>(call.in[2]));
}

template <class T>
void train(const Call& call) {
  const int64_t c = call.in[0].shape().back(), rows = call.in[0].shape().rows();
  CHECK(rows > 1, "batch_norm_train: needs more than one value per channel, got ", call.in[0].shape());
  const T *x = ptr<T>(call.in[0]), *gamma = ptr<T>(call.in[1]), *run_mean = ptr<T>(call.in[3]), *run_var = ptr<T>(call.in[4]);
  T *mean = ptr<T>(call.out[1]), *rstd = ptr<T>(call.out[2]), *new_mean = ptr<T>(call.out[3]), *new_var = ptr<T>(call.out[4]);
  Tensor sums = cuda::channel_sums(rows, c, [=] __device__(int64_t r, int64_t k, double& s, double& q) {
    const double v = static_cast<double>(x[r * c + k]);
    s += v, q += v * v;
  });
  Tensor scales = cuda::scratch<T>({c});
  T* scale = ptr<T>(scales);
  const double *sum = ptr<double>(sums), n = static_cast<double>(rows), eps = call.as<BatchNormTrainAttrs>().eps,
               momentum = call.as<BatchNormTrainAttrs>().momentum;
  each(c, [=] __device__(int64_t k) {
    const double m = sum[k] / n, spread = sum[c + k] / n - m * m, var = spread > 0 ? spread : 0;
    mean[k] = static_cast<T>(m);
    rstd[k] = reciprocal_std<T>(var, eps);
    scale[k] = gamma[k] * rstd[k];
    new_mean[k] = static_cast<T>((1 - momentum) * static_cast<double>(run_mean[k]) + momentum * m);
    new_var[k] = static_cast<T>((1 - momentum) * static_cast<double>(run_var[k]) + momentum * (var * n / (n - 1)));
  });
  apply_affine(x, ptr<T>(call.out[0]), rows * c, c, mean, scale, ptr<T>(call.in[2]));
}

template <class T>
void gradient(const Call& call) {
  const int64_t c = call.in[0].shape().back(), rows = call.in[0].shape().rows();
  const T *g = ptr<T>(call.in[0]), *x = ptr<T>(call.in[1]), *gamma = ptr<T>(call.in[2]), *mean = ptr<T>(call.in[3]),
          *rstd = ptr<T>(call.in[4]);
  T *dx = ptr<T>(call.out[0]), *dgamma = ptr<T>(call.out[1]), *dbeta = ptr<T>(call.out[2]);
  Tensor sums = cuda::channel_sums(rows, c, [=] __device__(int64_t r, int64_t k, double& s, double& q) {
    const double v = static_cast<double>(g[r * c + k]);
    s += v, q += v * static_cast<double>((x[r * c + k] - mean[k]) * rstd[k]);
  });
  const double *sum = ptr<double>(sums), n = static_cast<double>(rows);
  each(c, [=] __device__(int64_t k) { dbeta[k] = static_cast<T>(sum[k]), dgamma[k] = static_cast<T>(sum[c + k]); });
  each(rows * c, [=] __device__(int64_t i) {
    const int64_t k = i % c;
    const T mean_g = static_cast<T>(sum[k] / n), mean_gx = static_cast<T>(sum[c + k] / n);
    dx[i] = gamma[k] * rstd[k] * (g[i] - mean_g - (x[i] - mean[k]) * rstd[k] * mean_gx);
  });
}

#define KERNEL(id, op, function) \
  KernelFor id(op, Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { function<decltype(t)>(c); }); })
KERNEL(eval_kernel, "batch_norm", evaluate);
KERNEL(train_kernel, "batch_norm_train", train);
KERNEL(grad_kernel, "batch_norm_grad", gradient);

}  // namespace
}  // namespace vitrine
