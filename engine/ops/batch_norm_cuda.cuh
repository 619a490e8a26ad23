// Parts of BatchNorm in training, for the operators that go on from there (quant/ops/norm_chain_cuda.cu). The arithmetic and the orders of
// batch_norm_cpu.cc, operation by operation: the bits are the same.
#pragma once
#include "engine/ops/channel_sums.cuh"

namespace vitrine::cuda {

template <class T>
__device__ T reciprocal_std(double var, double eps) {
  return static_cast<T>(1.0 / ::sqrt(var + eps));
}

// (x - mean) * scale + beta, of x in T or bf16
template <class T, class X>
struct Normalized {
  const X* x;
  const T *mean, *scale, *beta;
  ChannelOf channel_of;
  __device__ T operator()(int64_t i, int64_t k) const { return (static_cast<T>(x[i]) - mean[k]) * scale[k] + beta[k]; }
  __device__ T operator()(int64_t i) const { return (*this)(i, channel_of(i)); }
};

// From inputs x, gamma, beta, running mean and variance; writes outputs 1 to 4: mean, rstd and the new running ones. Returns [c]:
// gamma * rstd.
template <class T, class X>
Tensor batch_statistics(const Call& call, double eps, double momentum) {
  const int64_t c = call.in[0].shape().back(), rows = call.in[0].shape().rows();
  CHECK(rows > 1, "batch_norm_train: needs more than one value per channel, got ", call.in[0].shape());
  const X* x = ptr<X>(call.in[0]);
  const T *gamma = ptr<T>(call.in[1]), *run_mean = ptr<T>(call.in[3]), *run_var = ptr<T>(call.in[4]);
  T *mean = ptr<T>(call.out[1]), *rstd = ptr<T>(call.out[2]), *new_mean = ptr<T>(call.out[3]), *new_var = ptr<T>(call.out[4]);
  Tensor sums = channel_sums<2>(
      rows, c, [=] __device__(int64_t i, int64_t) { return static_cast<T>(x[i]); },
      [=] __device__(T loaded, int64_t, int64_t, double* sum) {
        const double v = static_cast<double>(loaded);
        sum[0] += v, sum[1] += v * v;
      });
  Tensor scales = scratch<T>({c});
  T* scale = ptr<T>(scales);
  const double *sum = ptr<double>(sums), n = static_cast<double>(rows);
  each(c, [=] __device__(int64_t k) {
    const double m = sum[k] / n, spread = sum[c + k] / n - m * m, var = spread > 0 ? spread : 0;
    mean[k] = static_cast<T>(m);
    rstd[k] = reciprocal_std<T>(var, eps);
    scale[k] = gamma[k] * rstd[k];
    new_mean[k] = static_cast<T>((1 - momentum) * static_cast<double>(run_mean[k]) + momentum * m);
    new_var[k] = static_cast<T>((1 - momentum) * static_cast<double>(run_var[k]) + momentum * (var * n / (n - 1)));
  });
  return scales;
}

// What the gradient of a BatchNorm reads and writes, g as G and x as X; with prelu, that of the prelu behind it too.
template <class T, bool prelu, class G, class X>
struct NormGradient {
  const G* g;
  const X* x;
  const T *gamma, *mean, *rstd;
  X* dx;
  T *dgamma, *dbeta;
  const T *beta = nullptr, *slope = nullptr;
  T* dslope = nullptr;

  struct Loaded {
    T g, x;
  };
  __device__ Loaded load(int64_t i) const { return {static_cast<T>(g[i]), static_cast<T>(x[i])}; }
  __device__ T centred(Loaded v, int64_t k) const { return (v.x - mean[k]) * rstd[k]; }
  // The BatchNorm's output, before the prelu.
  __device__ T output(Loaded v, int64_t k) const { return (v.x - mean[k]) * (gamma[k] * rstd[k]) + beta[k]; }
  // What of the gradient arrives there. The slope is read in any case: so the compiler reads it once for all rows of a channel.
  __device__ T arriving(Loaded v, int64_t k) const {
    if constexpr (!prelu) return v.g;
    const T through = slope[k] * v.g;
    return output(v, k) > 0 ? v.g : through;
  }
};

template <class T, bool prelu, class G, class X>
void norm_gradient(const NormGradient<T, prelu, G, X>& a, int64_t rows, int64_t c) {
  constexpr int kSums = prelu ? 3 : 2;
  using Loaded = typename NormGradient<T, prelu, G, X>::Loaded;
  Tensor sums = channel_sums<kSums>(
      rows, c, [=] __device__(int64_t i, int64_t) { return a.load(i); },
      [=] __device__(Loaded v, int64_t, int64_t k, double* sum) {
        const double d = static_cast<double>(a.arriving(v, k));
        sum[0] += d, sum[1] += d * static_cast<double>(a.centred(v, k));
        if (!prelu) return;
        const T u = a.output(v, k);
        sum[kSums - 1] += static_cast<double>(v.g) * (u > 0 ? 0.0 : static_cast<double>(u));
      });
  Tensor per_channel = scratch<T>({3, c});
  T *scale = ptr<T>(per_channel), *mean_g = scale + c, *mean_gx = mean_g + c;
  const double *sum = ptr<double>(sums), n = static_cast<double>(rows);
  each(c, [=] __device__(int64_t k) {
    a.dbeta[k] = static_cast<T>(sum[k]), a.dgamma[k] = static_cast<T>(sum[c + k]);
    if (prelu) a.dslope[k] = static_cast<T>(sum[(kSums - 1) * c + k]);
    scale[k] = a.gamma[k] * a.rstd[k], mean_g[k] = static_cast<T>(sum[k] / n), mean_gx[k] = static_cast<T>(sum[c + k] / n);
  });
  const ChannelOf channel_of(rows * c, c);
  fill(a.dx, rows * c, [=] __device__(int64_t i) {
    const int64_t k = channel_of(i);
    const Loaded v = a.load(i);
    return scale[k] * (a.arriving(v, k) - mean_g[k] - a.centred(v, k) * mean_gx[k]);
  });
}

}  // namespace vitrine::cuda
