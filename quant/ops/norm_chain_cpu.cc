// Pass 1 over x: the statistics. Where a range is observed, the extremes of v: those of prelu follow from the extremes of x, for a sum they
// take a pass of their own, in which v is computed in blocks that stay in the cache and is not stored. Last pass: v, quantized on its way
// out.
#include <algorithm>
#include <mutex>

#include "engine/cpu/loops.h"
#include "engine/ops/batch_norm_cpu.h"
#include "engine/ops/cast.h"
#include "quant/ops/loops.h"
#include "quant/ops/norm_chain.h"

namespace vitrine::quant {
namespace {

template <class T>
struct Chain {
  const T* x;
  cpu::Norm<T> norm;
  const T *slope, *shortcut;  // one of them
  int64_t rows, c;

  void compute(int64_t row, int64_t n, T* v) const {
    if (slope)
      cpu::normalize_prelu(x + row * c, v, n, c, norm, slope);
    else
      cpu::normalize_add(x + row * c, shortcut + row * c, v, n, c, norm);
  }

  // body(row, n, v) for blocks of n rows from `row` on, v computed.
  template <class Body>
  void by_block(int64_t begin, int64_t end, const Body& body) const {
    constexpr int64_t kBlock = 4096;  // elements
    const int64_t step = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, c));
    std::vector<T> v(step * c);
    for (int64_t row = begin; row < end; row += step) {
      const int64_t n = std::min(step, end - row);
      compute(row, n, v.data());
      body(row, n, v.data());
    }
  }

  // (x - mean) * scale + beta is monotone in x, roundings and all. So is prelu with a slope that is not negative; with a negative one v is
  // never below 0 and its largest value is at an end.
  bool extremes_are_at_ends(const T* range) const {
    return slope && (range[0] <= 0 || std::all_of(slope, slope + c, [](T s) { return s >= 0; }));
  }

  void observe(const T* range, const cpu::Extremes<T>& x_ends, T* next) const {
    next[0] = range[0], next[1] = range[1];
    if (extremes_are_at_ends(range)) {
      std::vector<T> v(c);
      for (const std::vector<T>& end : {x_ends.lo, x_ends.hi}) {
        cpu::normalize_prelu(end.data(), v.data(), 1, c, norm, slope);
        extremes(v.data(), c, &next[0], &next[1]);
      }
      return;
    }
    std::mutex joining;
    parallel_for(rows, 4 * cpu::row_grain(c), [&](int64_t begin, int64_t end) {
      T lo = range[0], hi = range[1];
      by_block(begin, end, [&](int64_t, int64_t n, const T* v) { extremes(v, n * c, &lo, &hi); });
      std::lock_guard lock(joining);
      next[0] = std::min(next[0], lo), next[1] = std::max(next[1], hi);
    });
  }

  void write(T* y, const T* range, int64_t bits) const {
    parallel_for_backwards(rows, cpu::row_grain(c), [&](int64_t begin, int64_t end) {
      if (!bits) return compute(begin, end - begin, y + begin * c);
      const QuantParamsOf<T> p = quant_params_of<T>(range[0], range[1], bits);
      by_block(begin, end, [&](int64_t row, int64_t n, const T* v) { quantize(v, y + row * c, n * c, p); });
    });
  }
};

template <bool prelu>
void run(const Call& call) {
  auto& a = call.as<NormChainAttrs>();
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    std::vector<T> scale;
    cpu::Extremes<T> x_ends;
    const T* other = call.in[5].data<T>();
    const Shape& shape = call.in[0].shape();
    const Chain<T> chain{call.in[0].data<T>(),
                         cpu::batch_statistics(call, a.eps, a.momentum, &scale, prelu && a.observed ? &x_ends : nullptr),
                         prelu ? other : nullptr,
                         prelu ? nullptr : other,
                         shape.rows(),
                         shape.back()};
    const T* range = a.bits ? call.in[6].data<T>() : nullptr;
    if (a.observed) chain.observe(range, x_ends, call.out[5].data<T>()), range = call.out[5].data<T>();
    chain.write(call.out[0].data<T>(), range, a.bits);
  });
}

void prelu_gradient(const Call& call) {
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    auto in = [&](int i) { return call.in[i].data<T>(); };
    auto out = [&](int i) { return call.out[i].data<T>(); };
    cpu::norm_gradient<T>({.g = in(0),
                           .x = in(1),
                           .gamma = in(2),
                           .mean = in(4),
                           .rstd = in(5),
                           .dx = out(0),
                           .dgamma = out(1),
                           .dbeta = out(2),
                           .beta = in(3),
                           .slope = in(6),
                           .dslope = out(3)},
                          call.in[0].shape().rows(), call.in[0].shape().back());
  });
}

KernelFor prelu_kernel("batch_norm_prelu", Device::cpu, [](const Call& c) { in_one_dtype(c, run<true>); });
KernelFor add_kernel("batch_norm_add", Device::cpu, [](const Call& c) { in_one_dtype(c, run<false>); });
KernelFor prelu_grad_kernel("batch_norm_prelu_grad", Device::cpu, [](const Call& c) { in_one_dtype(c, prelu_gradient); });

}  // namespace
}  // namespace vitrine::quant
