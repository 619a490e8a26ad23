#include "engine/ops/optimiser.h"

#include <array>
#include <cmath>

#include "engine/cpu/loops.h"
#include "engine/ops/elementwise.h"

namespace vitrine {
namespace {

double join(std::array<double, kNormChains>& chain) {
  double sum = 0;
  for (int first = 0; first < kNormChains; first += 32) {
    double* lane = &chain[first];
    for (int half = 16; half; half /= 2)
      for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    sum = first ? sum + lane[0] : lane[0];
  }
  return sum;
}

template <class T>
double squares(const T* g, int64_t n) {
  std::array<double, kNormChains> chain{};
  int64_t i = 0;
  for (; i + kNormChains <= n; i += kNormChains)
    for (int k = 0; k < kNormChains; ++k) chain[k] += static_cast<double>(g[i + k] * g[i + k]);
  for (int k = 0; i + k < n; ++k) chain[k] += static_cast<double>(g[i + k] * g[i + k]);
  return join(chain);
}

template <class T>
void norm(const Call& c) {
  const double clip = c.as<NormAttrs>().clip;
  double total = 0;
  for (const Tensor& t : c.in) {
    const T* g = t.data<T>();
    const int64_t n = t.numel();
    std::vector<double> chunk(chunk_count(n, kNormChunk));
    parallel_for(n, kNormChunk, [&](int64_t begin, int64_t end) { chunk[begin / kNormChunk] = squares(g + begin, end - begin); });
    double sum = 0;
    for (double s : chunk) sum += s;
    total += static_cast<double>(static_cast<T>(sum));
  }
  double* out = c.out[0].data<double>();
  out[0] = std::sqrt(total);
  const double factor = clip / (out[0] + 1e-6);
  out[1] = clip > 0 && factor < 1 ? factor : 1;
}

template <class T>
void sgd(const Call& c) {
  auto& a = c.as<SgdAttrs>();
  const T lr = T(c.in[0].data<double>()[0]), factor = T(c.in[1].data<double>()[1]);
  const T momentum = T(a.momentum), decay = T(a.weight_decay);
  for (size_t p = 0; p < c.out.size() / 2; ++p) {
    const T *w = c.in[3 * p + 2].data<T>(), *g = c.in[3 * p + 3].data<T>(), *v = c.in[3 * p + 4].data<T>();
    T *w2 = c.out[2 * p].data<T>(), *v2 = c.out[2 * p + 1].data<T>();
    parallel_for(c.out[2 * p].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T gradient = factor * g[i] + decay * w[i];
        const T velocity = a.first ? gradient : momentum * v[i] + gradient;
        v2[i] = velocity;
        w2[i] = w[i] - lr * (a.nesterov ? gradient + momentum * velocity : velocity);
      }
    });
  }
}

template <class T>
void adamw(const Call& c) {
  auto& a = c.as<AdamWAttrs>();
  const double* rates = c.in[0].data<double>();
  const T keep = T(rates[0]), rate = T(rates[1]), spread = T(rates[2]), factor = T(c.in[1].data<double>()[1]);
  const T beta1 = T(a.beta1), new1 = T(1 - a.beta1), beta2 = T(a.beta2), new2 = T(1 - a.beta2), eps = T(a.eps);
  for (size_t p = 0; p < c.out.size() / 3; ++p) {
    const Tensor* in = &c.in[4 * p + 2];
    const T *w = in[0].data<T>(), *g = in[1].data<T>(), *m = in[2].data<T>(), *s = in[3].data<T>();
    T *w2 = c.out[3 * p].data<T>(), *m2 = c.out[3 * p + 1].data<T>(), *s2 = c.out[3 * p + 2].data<T>();
    parallel_for(c.out[3 * p].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T gradient = factor * g[i], square = gradient * gradient;
        const T mean = a.first ? gradient * new1 : m[i] * beta1 + gradient * new1;
        const T power = a.first ? square * new2 : s[i] * beta2 + square * new2;
        m2[i] = mean, s2[i] = power;
        w2[i] = w[i] * keep - mean * rate / (ew::root(power) * spread + eps);
      }
    });
  }
}

#define KERNEL(id, op, function, of) \
  KernelFor id(op, Device::cpu, [](const Call& c) { cpu::by_float(of.dtype(), [&](auto t) { function<decltype(t)>(c); }); })
KERNEL(norm_kernel, "gradient_norm", norm, c.in[0]);
KERNEL(sgd_kernel, "sgd_step", sgd, c.out[0]);
KERNEL(adamw_kernel, "adamw_step", adamw, c.out[0]);

}  // namespace
}  // namespace vitrine
