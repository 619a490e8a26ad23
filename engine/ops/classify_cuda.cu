// In f64 and rounded once; the sum of a row by a block (block.cuh).
#include "engine/cuda/block.cuh"
#include "engine/ops/classify.h"

namespace vitrine {
namespace {

using cuda::checked, cuda::Fault, cuda::ptr;

struct Softmax {
  double top, total;  // largest element; sum of exp(x - top), at least 1
};
template <class T>
__device__ Softmax softmax(const T* x, int64_t n) {
  Softmax s{-INFINITY, 0};
  for (int64_t i = threadIdx.x; i < n; i += cuda::kBlock) s.top = cuda::Most()(s.top, static_cast<double>(x[i]));
  s.top = cuda::block_reduce(s.top, cuda::Most());
  for (int64_t i = threadIdx.x; i < n; i += cuda::kBlock) s.total += ::exp(static_cast<double>(x[i]) - s.top);
  s.total = cuda::block_reduce(s.total, cuda::Add());
  return s;
}

template <class T>
void entropy(const Call& c) {
  const int64_t n = c.in[0].shape()[1], *labels = ptr<int64_t>(c.in[1]);
  const T* x = ptr<T>(c.in[0]);
  T* y = ptr<T>(c.out[0]);
  Fault* fault = cuda::fault();
  cuda::each_block(c.in[0].shape()[0], [=] __device__(int64_t r) {
    const Softmax s = softmax(x + r * n, n);
    if (threadIdx.x != 0) return;
    const double own = static_cast<double>(x[r * n + checked(labels[r], n, Fault::label, fault)]);
    y[r] = static_cast<T>(::log(s.total) + (s.top - own));
  });
}

// dx = g (softmax(x) - [j == label])
template <class T>
void entropy_gradient(const Call& c) {
  const int64_t n = c.in[0].shape()[1], *labels = ptr<int64_t>(c.in[1]);
  const T *x = ptr<T>(c.in[0]), *g = ptr<T>(c.in[2]);
  T* dx = ptr<T>(c.out[0]);
  Fault* fault = cuda::fault();
  cuda::each_block(c.in[0].shape()[0], [=] __device__(int64_t r) {
    const Softmax s = softmax(x + r * n, n);
    const int64_t label = checked(labels[r], n, Fault::label, fault);
    for (int64_t i = threadIdx.x; i < n; i += cuda::kBlock)
      dx[r * n + i] =
          static_cast<T>(static_cast<double>(g[r]) * (::exp(static_cast<double>(x[r * n + i]) - s.top) / s.total - (i == label)));
  });
}

// With a margin: the cosine itself and its derivative.
struct Margin {
  double value, slope;
};
__device__ Margin with_margin(double cosine, double m1, double m2, double m3, bool falling) {
  const double c = cosine < -1 ? -1 : cosine > 1 ? 1 : cosine, angle = m1 * ::acos(c) + m2, sine = ::sqrt((1 - c) * (1 + c));
  const bool inside = sine > 0;
  if (falling && angle >= 3.14159265358979323846) return {c - m2 * ::sin(m2) - m3, inside ? 1.0 : 0.0};
  return {::cos(angle) - m3, inside ? m1 * ::sin(angle) / sine : 0};
}

// Copies input `from` but for each row's own class: there, its margin's value (from = 0) or the gradient's product (2).
template <class T, int from>
void margin(const Call& c) {
  auto& a = c.as<MarginAttrs>();
  const int64_t n = c.in[0].shape()[1], *labels = ptr<int64_t>(c.in[1]);
  const T *x = ptr<T>(c.in[0]), *source = ptr<T>(c.in[from]);
  T* y = ptr<T>(c.out[0]);
  const double m1 = a.m1, m2 = a.m2, m3 = a.m3;
  const bool falling = a.falling;
  Fault* fault = cuda::fault();
  cuda::each(c.in[0].numel(), [=] __device__(int64_t i) {
    y[i] = source[i];
    if (i % n != checked(labels[i / n], n, Fault::label, fault)) return;
    const Margin m = with_margin(static_cast<double>(x[i]), m1, m2, m3, falling);
    y[i] = static_cast<T>(from == 0 ? m.value : m.slope * static_cast<double>(source[i]));
  });
}

#define KERNEL(id, op, ...) \
  KernelFor id(op, Device::cuda, [](const Call& c) { by_float(c.in[0].dtype(), [&](auto t) { __VA_ARGS__(c); }); })
KERNEL(entropy_kernel, "cross_entropy", entropy<decltype(t)>);
KERNEL(entropy_grad_kernel, "cross_entropy_grad", entropy_gradient<decltype(t)>);
KERNEL(margin_kernel, "margin", margin<decltype(t), 0>);
KERNEL(straight_kernel, "margin_straight", margin<decltype(t), 0>);
KERNEL(margin_grad_kernel, "margin_grad", margin<decltype(t), 2>);

}  // namespace
}  // namespace vitrine
