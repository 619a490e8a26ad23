// Arithmetic: rstd = 1 / sqrt(var + eps) in f64, rounded once; scale = gamma * rstd; y = (x - mean) * scale + beta, each operation rounded.
// Sums over the batch: rows are cut into chunks that depend on the shape alone, each chunk is one f64 chain per channel in ascending order,
// and the chunks are added in ascending order.
#include "engine/ops/batch_norm_cpu.h"

#include <cmath>
#include <limits>
#include <mutex>

#include "engine/cpu/loops.h"
#include "engine/ops/batch_norm.h"
#include "engine/ops/cast.h"
#include "engine/ops/channel_sums.h"

namespace vitrine {
namespace cpu {

namespace {

// [2][c]: the sums of x and of x * x.
template <class T>
std::vector<double> sums_of(const T* x, int64_t rows, int64_t c, Extremes<T>* extremes) {
  if (!extremes) return channel_sums(rows, c, 2, [&](int64_t begin, int64_t n, double* s) { moments(x + begin * c, n, c, s); });
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  extremes->lo.assign(c, kInfinity), extremes->hi.assign(c, -kInfinity);
  std::mutex joining;
  return channel_sums(rows, c, 2, [&](int64_t begin, int64_t n, double* s) {
    std::vector<T> lo(c, kInfinity), hi(c, -kInfinity);
    moments_and_extremes(x + begin * c, n, c, s, lo.data(), hi.data());
    std::lock_guard lock(joining);
    for (int64_t k = 0; k < c; ++k) extremes->lo[k] = std::min(extremes->lo[k], lo[k]), extremes->hi[k] = std::max(extremes->hi[k], hi[k]);
  });
}

}  // namespace

template <class T>
Norm<T> batch_statistics(const Call& call, double eps, double momentum, std::vector<T>* scale, Extremes<T>* extremes) {
  const int64_t c = call.in[0].shape().back(), rows = call.in[0].shape().rows();
  const T *x = call.in[0].data<T>(), *gamma = call.in[1].data<T>(), *run_mean = call.in[3].data<T>(), *run_var = call.in[4].data<T>();
  T *mean = call.out[1].data<T>(), *rstd = call.out[2].data<T>(), *new_mean = call.out[3].data<T>(), *new_var = call.out[4].data<T>();
  // Here and not in infer(): graphs are traced at batch 1, where a head of one value per channel is no mistake.
  CHECK(rows > 1, "batch_norm_train: needs more than one value per channel, got ", call.in[0].shape());
  auto sums = sums_of(x, rows, c, extremes);
  scale->resize(c);
  for (int64_t k = 0; k < c; ++k) {
    const double n = static_cast<double>(rows), m = sums[k] / n, var = std::max(0.0, sums[c + k] / n - m * m);
    mean[k] = static_cast<T>(m);
    rstd[k] = static_cast<T>(1.0 / std::sqrt(var + eps));
    (*scale)[k] = gamma[k] * rstd[k];
    new_mean[k] = static_cast<T>((1 - momentum) * run_mean[k] + momentum * m);
    new_var[k] = static_cast<T>((1 - momentum) * run_var[k] + momentum * (var * n / (n - 1)));
  }
  return {mean, rstd, scale->data(), call.in[2].data<T>()};
}
template Norm<float> batch_statistics(const Call&, double, double, std::vector<float>*, Extremes<float>*);
template Norm<double> batch_statistics(const Call&, double, double, std::vector<double>*, Extremes<double>*);

template <class T>
void norm_gradient(const NormGradient<T>& d, int64_t rows, int64_t c) {
  std::vector<T> scale(c), mean_g(c), mean_gx(c);
  for (int64_t k = 0; k < c; ++k) scale[k] = d.gamma[k] * d.rstd[k];
  const Norm<T> norm{d.mean, d.rstd, scale.data(), d.beta};
  auto sums = channel_sums(rows, c, d.slope ? 3 : 2, [&](int64_t begin, int64_t n, double* s) {
    if (d.slope)
      prelu_gradient_moments(d.g + begin * c, d.x + begin * c, n, c, norm, d.slope, s);
    else
      gradient_moments(d.g + begin * c, d.x + begin * c, n, c, norm, s);
  });
  for (int64_t k = 0; k < c; ++k) {
    d.dbeta[k] = static_cast<T>(sums[k]);
    d.dgamma[k] = static_cast<T>(sums[c + k]);
    if (d.slope) d.dslope[k] = static_cast<T>(sums[2 * c + k]);
    mean_g[k] = static_cast<T>(sums[k] / static_cast<double>(rows));
    mean_gx[k] = static_cast<T>(sums[c + k] / static_cast<double>(rows));
  }
  const GradMeans<T> means{mean_g.data(), mean_gx.data()};
  parallel_for_backwards(rows, row_grain(c), [&](int64_t begin, int64_t end) {
    const int64_t at = begin * c, n = end - begin;
    if (d.slope)
      prelu_input_gradient(d.g + at, d.x + at, d.dx + at, n, c, norm, d.slope, means);
    else
      input_gradient(d.g + at, d.x + at, d.dx + at, n, c, norm, means);
  });
}
template void norm_gradient(const NormGradient<float>&, int64_t, int64_t);
template void norm_gradient(const NormGradient<double>&, int64_t, int64_t);

}  // namespace cpu

namespace {

template <class T>
void normalize_all(const Tensor& x, const Tensor& y, const cpu::Norm<T>& norm) {
  const int64_t c = x.shape().back();
  const T* from = x.data<T>();
  T* to = y.data<T>();
  parallel_for_backwards(x.shape().rows(), cpu::row_grain(c),
                         [&](int64_t begin, int64_t end) { cpu::normalize(from + begin * c, to + begin * c, end - begin, c, norm); });
}

KernelFor eval_kernel("batch_norm", Device::cpu, [](const Call& call) {
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const int64_t c = call.in[0].shape().back();
    const T *gamma = call.in[1].data<T>(), *var = call.in[4].data<T>();
    std::vector<T> scale(c);
    for (int64_t k = 0; k < c; ++k) scale[k] = batch_norm_scale(gamma[k], var[k], call.as<BatchNormAttrs>().eps);
    normalize_all<T>(call.in[0], call.out[0], {call.in[3].data<T>(), nullptr, scale.data(), call.in[2].data<T>()});
  });
});

void train(const Call& call) {
  auto& a = call.as<BatchNormTrainAttrs>();
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    std::vector<decltype(t)> scale;
    normalize_all(call.in[0], call.out[0], cpu::batch_statistics(call, a.eps, a.momentum, &scale));
  });
}

void gradient(const Call& call) {
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    auto in = [&](int i) { return call.in[i].data<T>(); };
    auto out = [&](int i) { return call.out[i].data<T>(); };
    cpu::norm_gradient<T>({in(0), in(1), in(2), in(3), in(4), out(0), out(1), out(2)}, call.in[0].shape().rows(),
                          call.in[0].shape().back());
  });
}

KernelFor train_kernel("batch_norm_train", Device::cpu, [](const Call& c) { in_one_dtype(c, train); });
KernelFor grad_kernel("batch_norm_grad", Device::cpu, [](const Call& c) { in_one_dtype(c, gradient); });

}  // namespace
}  // namespace vitrine
