// Arithmetic: rstd = 1 / sqrt(var + eps) in f64, rounded once; scale = gamma * rstd; y = (x - mean) * scale + beta, each operation rounded.
// Sums over the batch: rows are cut into chunks that depend on the shape alone, each chunk is one f64 chain per channel in ascending order,
// and the chunks are added in ascending order.
#include "engine/ops/batch_norm.h"

#include <cmath>
#include <vector>

#include "engine/cpu/loops.h"
#include "engine/ops/channel_sums.h"

namespace vitrine {
namespace {

VITRINE_CLONES void normalize(const float* __restrict x, float* __restrict y, int64_t rows, int64_t c, const float* __restrict mean,
                              const float* __restrict scale, const float* __restrict beta) {
  for (int64_t r = 0; r < rows; ++r, x += c, y += c)
    for (int64_t k = 0; k < c; ++k) y[k] = (x[k] - mean[k]) * scale[k] + beta[k];
}
void normalize(const double* x, double* y, int64_t rows, int64_t c, const double* mean, const double* scale, const double* beta) {
  for (int64_t r = 0; r < rows; ++r, x += c, y += c)
    for (int64_t k = 0; k < c; ++k) y[k] = (x[k] - mean[k]) * scale[k] + beta[k];
}

// dx = scale * (g - mean(g) - xhat * mean(g * xhat)), xhat = (x - mean) * rstd
VITRINE_CLONES void input_gradient(const float* __restrict g, const float* __restrict x, float* __restrict dx, int64_t rows, int64_t c,
                                   const float* __restrict mean, const float* __restrict rstd, const float* __restrict scale,
                                   const float* __restrict mean_g, const float* __restrict mean_gx) {
  for (int64_t r = 0; r < rows; ++r, g += c, x += c, dx += c)
    for (int64_t k = 0; k < c; ++k) dx[k] = scale[k] * (g[k] - mean_g[k] - (x[k] - mean[k]) * rstd[k] * mean_gx[k]);
}
void input_gradient(const double* g, const double* x, double* dx, int64_t rows, int64_t c, const double* mean, const double* rstd,
                    const double* scale, const double* mean_g, const double* mean_gx) {
  for (int64_t r = 0; r < rows; ++r, g += c, x += c, dx += c)
    for (int64_t k = 0; k < c; ++k) dx[k] = scale[k] * (g[k] - mean_g[k] - (x[k] - mean[k]) * rstd[k] * mean_gx[k]);
}

// Sums of x and x^2 (products of two f32 are exact in f64).
VITRINE_CLONES void moments(const float* __restrict x, int64_t rows, int64_t c, double* __restrict s, double* __restrict q) {
  for (int64_t r = 0; r < rows; ++r, x += c)
    for (int64_t k = 0; k < c; ++k) {
      double v = x[k];
      s[k] += v;
      q[k] += v * v;
    }
}
void moments(const double* x, int64_t rows, int64_t c, double* s, double* q) {
  for (int64_t r = 0; r < rows; ++r, x += c)
    for (int64_t k = 0; k < c; ++k) s[k] += x[k], q[k] += x[k] * x[k];
}

// Sums of g and g * xhat.
VITRINE_CLONES void gradient_moments(const float* __restrict g, const float* __restrict x, int64_t rows, int64_t c,
                                     const float* __restrict mean, const float* __restrict rstd, double* __restrict s,
                                     double* __restrict q) {
  for (int64_t r = 0; r < rows; ++r, g += c, x += c)
    for (int64_t k = 0; k < c; ++k) {
      double v = g[k];
      s[k] += v;
      q[k] += v * static_cast<double>((x[k] - mean[k]) * rstd[k]);
    }
}
void gradient_moments(const double* g, const double* x, int64_t rows, int64_t c, const double* mean, const double* rstd, double* s,
                      double* q) {
  for (int64_t r = 0; r < rows; ++r, g += c, x += c)
    for (int64_t k = 0; k < c; ++k) s[k] += g[k], q[k] += g[k] * ((x[k] - mean[k]) * rstd[k]);
}

template <class T>
void apply_affine(const T* x, T* y, int64_t rows, int64_t c, const T* mean, const T* scale, const T* beta) {
  parallel_for(rows, cpu::row_grain(c),
               [&](int64_t begin, int64_t end) { normalize(x + begin * c, y + begin * c, end - begin, c, mean, scale, beta); });
}

KernelFor eval_kernel("batch_norm", Device::cpu, [](const Call& call) {
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    int64_t c = call.in[0].shape().back(), rows = call.in[0].shape().rows();
    const T *gamma = call.in[1].data<T>(), *var = call.in[4].data<T>();
    std::vector<T> scale(c);
    for (int64_t k = 0; k < c; ++k) scale[k] = batch_norm_scale(gamma[k], var[k], call.as<BatchNormAttrs>().eps);
    apply_affine(call.in[0].data<T>(), call.out[0].data<T>(), rows, c, call.in[3].data<T>(), scale.data(), call.in[2].data<T>());
  });
});

KernelFor train_kernel("batch_norm_train", Device::cpu, [](const Call& call) {
  auto& a = call.as<BatchNormTrainAttrs>();
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    int64_t c = call.in[0].shape().back(), rows = call.in[0].shape().rows();
    const T *x = call.in[0].data<T>(), *gamma = call.in[1].data<T>(), *run_mean = call.in[3].data<T>(), *run_var = call.in[4].data<T>();
    T *mean = call.out[1].data<T>(), *rstd = call.out[2].data<T>(), *new_mean = call.out[3].data<T>(), *new_var = call.out[4].data<T>();
    // Here and not in infer(): graphs are traced at batch 1, where a head of one value per channel is no mistake.
    CHECK(rows > 1, "batch_norm_train: needs more than one value per channel, got ", call.in[0].shape());
    auto sums = cpu::channel_sums(rows, c, [&](int64_t begin, int64_t n, double* s, double* q) { moments(x + begin * c, n, c, s, q); });
    std::vector<T> scale(c);
    for (int64_t k = 0; k < c; ++k) {
      double n = static_cast<double>(rows), m = sums.first[k] / n, var = std::max(0.0, sums.second[k] / n - m * m);
      mean[k] = static_cast<T>(m);
      rstd[k] = static_cast<T>(1.0 / std::sqrt(var + a.eps));
      scale[k] = gamma[k] * rstd[k];
      new_mean[k] = static_cast<T>((1 - a.momentum) * run_mean[k] + a.momentum * m);
      new_var[k] = static_cast<T>((1 - a.momentum) * run_var[k] + a.momentum * (var * n / (n - 1)));
    }
    apply_affine(x, call.out[0].data<T>(), rows, c, mean, scale.data(), call.in[2].data<T>());
  });
});

KernelFor grad_kernel("batch_norm_grad", Device::cpu, [](const Call& call) {
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    int64_t c = call.in[0].shape().back(), rows = call.in[0].shape().rows();
    const T *g = call.in[0].data<T>(), *x = call.in[1].data<T>(), *gamma = call.in[2].data<T>(), *mean = call.in[3].data<T>(),
            *rstd = call.in[4].data<T>();
    T *dx = call.out[0].data<T>(), *dgamma = call.out[1].data<T>(), *dbeta = call.out[2].data<T>();
    auto sums = cpu::channel_sums(rows, c, [&](int64_t begin, int64_t n, double* s, double* q) {
      gradient_moments(g + begin * c, x + begin * c, n, c, mean, rstd, s, q);
    });
    std::vector<T> scale(c), mean_g(c), mean_gx(c);
    for (int64_t k = 0; k < c; ++k) {
      dbeta[k] = static_cast<T>(sums.first[k]);
      dgamma[k] = static_cast<T>(sums.second[k]);
      scale[k] = gamma[k] * rstd[k];
      mean_g[k] = static_cast<T>(sums.first[k] / static_cast<double>(rows));
      mean_gx[k] = static_cast<T>(sums.second[k] / static_cast<double>(rows));
    }
    parallel_for(rows, cpu::row_grain(c), [&](int64_t begin, int64_t end) {
      input_gradient(g + begin * c, x + begin * c, dx + begin * c, end - begin, c, mean, rstd, scale.data(), mean_g.data(), mean_gx.data());
    });
  });
});

}  // namespace
}  // namespace vitrine
