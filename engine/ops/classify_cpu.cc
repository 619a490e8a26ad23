// In f64 and rounded once; the sum of a row is one chain in ascending order.
#include "engine/ops/classify.h"

#include <algorithm>
#include <cmath>

#include "engine/cpu/loops.h"

namespace vitrine {
namespace {

// body(x's row, its label, r), each row by one thread
template <class Body>
void each_row(const Call& c, Body&& body) {
  int64_t n = c.in[0].shape()[1];
  const int64_t* labels = c.in[1].data<int64_t>();
  cpu::by_float(c.in[0].dtype(), [&](auto t) {
    const auto* x = c.in[0].data<decltype(t)>();
    parallel_for(c.in[0].shape()[0], cpu::row_grain(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        CHECK(labels[r] >= 0 && labels[r] < n, "label ", labels[r], " of row ", r, ": expected 0 to ", n - 1);
        body(x + r * n, labels[r], r);
      }
    });
  });
}

template <class T>
struct Softmax {
  double top, total = 0;  // largest element; sum of exp(x - top), at least 1
  Softmax(const T* x, int64_t n) : top(static_cast<double>(*std::max_element(x, x + n))) {
    for (int64_t i = 0; i < n; ++i) total += std::exp(static_cast<double>(x[i]) - top);
  }
};

KernelFor entropy_kernel("cross_entropy", Device::cpu, [](const Call& c) {
  each_row(c, [&]<class T>(const T* x, int64_t label, int64_t r) {
    Softmax<T> s(x, c.in[0].shape()[1]);
    c.out[0].data<T>()[r] = static_cast<T>(std::log(s.total) + (s.top - static_cast<double>(x[label])));
  });
});

// dx = g (softmax(x) - [j == label])
KernelFor entropy_grad_kernel("cross_entropy_grad", Device::cpu, [](const Call& c) {
  each_row(c, [&]<class T>(const T* x, int64_t label, int64_t r) {
    int64_t n = c.in[0].shape()[1];
    T* dx = c.out[0].data<T>() + r * n;
    double g = static_cast<double>(c.in[2].data<T>()[r]);
    Softmax<T> s(x, n);
    for (int64_t i = 0; i < n; ++i) dx[i] = static_cast<T>(g * (std::exp(static_cast<double>(x[i]) - s.top) / s.total - (i == label)));
  });
});

// With a margin: the cosine itself and its derivative.
std::pair<double, double> with_margin(double cosine, const MarginAttrs& a) {
  double c = std::clamp(cosine, -1.0, 1.0), angle = a.m1 * std::acos(c) + a.m2, sine = std::sqrt((1 - c) * (1 + c));
  bool inside = sine > 0;
  if (a.falling && angle >= 3.14159265358979323846) return {c - a.m2 * std::sin(a.m2) - a.m3, inside};
  return {std::cos(angle) - a.m3, inside ? a.m1 * std::sin(angle) / sine : 0};
}

// Copies input `from` but for each row's own class: there, its margin's value (from = 0) or the gradient's product (2).
template <int from>
void margin_kernel(const Call& c) {
  each_row(c, [&]<class T>(const T* x, int64_t label, int64_t r) {
    int64_t n = c.in[0].shape()[1];
    const T* source = c.in[from].data<T>() + r * n;
    T* y = c.out[0].data<T>() + r * n;
    std::copy(source, source + n, y);
    auto [value, slope] = with_margin(static_cast<double>(x[label]), c.as<MarginAttrs>());
    y[label] = static_cast<T>(from == 0 ? value : slope * static_cast<double>(y[label]));
  });
}
KernelFor forward("margin", Device::cpu, margin_kernel<0>);
KernelFor straight("margin_straight", Device::cpu, margin_kernel<0>);
KernelFor gradient("margin_grad", Device::cpu, margin_kernel<2>);

}  // namespace
}  // namespace vitrine
