// The arithmetic and the orders of optimiser_cpu.cc: the bits are the same.
#include "engine/ops/optimiser.h"

#include "engine/cuda/block.cuh"
#include "engine/cuda/many.cuh"
#include "engine/ops/elementwise.h"

namespace vitrine {
namespace {

using cuda::ptr;

static_assert(kNormChains == cuda::kBlock);

template <class T>
void norm(const Call& c) {
  const auto tensors = static_cast<int64_t>(c.in.size());
  cuda::Groups<1> gradients;
  for (const Tensor& t : c.in) gradients.push_back({t});
  Tensor totals = cuda::scratch<double>({tensors});
  double *total = ptr<double>(totals), *out = ptr<double>(c.out[0]);
  for (int64_t first = 0; first < tensors; first += cuda::kMany) {
    const auto m = cuda::many<T, 1>(gradients, first, kNormChunk);
    Tensor chunks = cuda::scratch<double>({m.first[m.count]});
    double* chunk = ptr<double>(chunks);
    cuda::each_piece(m, [=] __device__(const cuda::Many<T, 1>& all, int k, int64_t p, int64_t begin, int64_t end) {
      const T* g = all.array[0][k];
      double sum = 0;
      for (int64_t i = begin + threadIdx.x; i < end; i += kNormChains) sum += static_cast<double>(g[i] * g[i]);
      sum = cuda::block_reduce(sum, cuda::Add());
      if (threadIdx.x == 0) chunk[p] = sum;
    });
    cuda::each(m.count, [=] __device__(int64_t k) {
      double sum = 0;
      for (int p = m.first[k]; p < m.first[k + 1]; ++p) sum += chunk[p];
      total[first + k] = static_cast<double>(static_cast<T>(sum));
    });
  }
  const double clip = c.as<NormAttrs>().clip;
  cuda::each(1, [=] __device__(int64_t) {
    double sum = 0;
    for (int64_t k = 0; k < tensors; ++k) sum += total[k];
    out[0] = ::sqrt(sum);
    const double factor = clip / (out[0] + 1e-6);
    out[1] = clip > 0 && factor < 1 ? factor : 1;
  });
}

template <class T>
void sgd(const Call& c) {
  auto& a = c.as<SgdAttrs>();
  const double *rates = ptr<double>(c.in[0]), *norm = ptr<double>(c.in[1]);
  const T momentum = T(a.momentum), decay = T(a.weight_decay);
  const bool first = a.first, nesterov = a.nesterov;
  cuda::Groups<5> groups;
  for (size_t p = 0; p < c.out.size() / 2; ++p)
    groups.push_back({c.in[3 * p + 2], c.in[3 * p + 3], c.in[3 * p + 4], c.out[2 * p], c.out[2 * p + 1]});
  cuda::each_of_many<T, 5>(groups, [=] __device__(const cuda::Many<T, 5>& m, int k, int64_t i) {
    const T w = m.array[0][k][i], lr = static_cast<T>(rates[0]), gradient = static_cast<T>(norm[1]) * m.array[1][k][i] + decay * w;
    const T velocity = first ? gradient : momentum * m.array[2][k][i] + gradient;
    m.array[4][k][i] = velocity;
    m.array[3][k][i] = w - lr * (nesterov ? gradient + momentum * velocity : velocity);
  });
}

template <class T>
void adamw(const Call& c) {
  auto& a = c.as<AdamWAttrs>();
  const double *rates = ptr<double>(c.in[0]), *norm = ptr<double>(c.in[1]);
  const T beta1 = T(a.beta1), new1 = T(1 - a.beta1), beta2 = T(a.beta2), new2 = T(1 - a.beta2), eps = T(a.eps);
  const bool first = a.first;
  cuda::Groups<7> groups;
  for (size_t p = 0; p < c.out.size() / 3; ++p) {
    const Tensor *in = &c.in[4 * p + 2], *out = &c.out[3 * p];
    groups.push_back({in[0], in[1], in[2], in[3], out[0], out[1], out[2]});
  }
  cuda::each_of_many<T, 7>(groups, [=] __device__(const cuda::Many<T, 7>& at, int k, int64_t i) {
    const T keep = static_cast<T>(rates[0]), rate = static_cast<T>(rates[1]), spread = static_cast<T>(rates[2]);
    const T gradient = static_cast<T>(norm[1]) * at.array[1][k][i], square = gradient * gradient;
    const T mean = first ? gradient * new1 : at.array[2][k][i] * beta1 + gradient * new1;
    const T power = first ? square * new2 : at.array[3][k][i] * beta2 + square * new2;
    at.array[5][k][i] = mean, at.array[6][k][i] = power;
    at.array[4][k][i] = at.array[0][k][i] * keep - mean * rate / (ew::root(power) * spread + eps);
  });
}

#define KERNEL(id, op, function, of) \
  KernelFor id(op, Device::cuda, [](const Call& c) { by_float(of.dtype(), [&](auto t) { function<decltype(t)>(c); }); })
KERNEL(norm_kernel, "gradient_norm", norm, c.in[0]);
KERNEL(sgd_kernel, "sgd_step", sgd, c.out[0]);
KERNEL(adamw_kernel, "adamw_step", adamw, c.out[0]);

}  // namespace
}  // namespace vitrine
