// The order of a sum: the reduced extent is cut into chunks of a length that depends on the shape alone; each chunk is one chain of f64
// additions in ascending order, then the chunks' sums are added in ascending order and rounded once.
#include "engine/ops/reduce.h"

#include <limits>
#include <vector>

#include "engine/cpu/loops.h"
#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

struct Sum {
  using Acc = double;
  static constexpr Acc start = 0;
  static Acc join(Acc a, Acc b) { return a + b; }
};
struct Min {
  using Acc = double;
  static constexpr Acc start = std::numeric_limits<double>::infinity();
  static Acc join(Acc a, Acc b) { return b < a ? b : a; }
};
struct Max {
  using Acc = double;
  static constexpr Acc start = -std::numeric_limits<double>::infinity();
  static Acc join(Acc a, Acc b) { return b > a ? b : a; }
};

// x viewed as [outer, reduced, inner] -> y [outer, inner]
template <class R, class T>
void reduce(const Call& c) {
  auto& a = c.as<ReduceAttrs>();
  const Shape& s = c.in[0].shape();
  int first = static_cast<int>(a.first), last = static_cast<int>(a.first + a.count);
  int64_t outer = s.product(0, first), reduced = s.product(first, last), inner = s.product(last, s.rank());
  const T* x = c.in[0].data<T>();
  T* y = c.out[0].data<T>();
  int64_t length = std::max<int64_t>(1, 4 * cpu::kGrain / std::max<int64_t>(1, inner)), chunks = chunk_count(reduced, length);
  std::vector<double> partial(outer * chunks * inner, R::start);
  parallel_chunks(outer * chunks, [&](int64_t job) {
    int64_t o = job / chunks, begin = job % chunks * length, end = std::min(reduced, begin + length);
    double* acc = &partial[job * inner];
    if (inner == 1) {  // a chain in a register
      double chain = R::start;
      for (int64_t r = begin; r < end; ++r) chain = R::join(chain, x[o * reduced + r]);
      *acc = chain;
      return;
    }
    for (int64_t r = begin; r < end; ++r) {
      const T* row = x + (o * reduced + r) * inner;
      for (int64_t i = 0; i < inner; ++i) acc[i] = R::join(acc[i], row[i]);
    }
  });
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      double total = R::start;
      for (int64_t k = 0; k < chunks; ++k) total = R::join(total, partial[(o * chunks + k) * inner + i]);
      y[o * inner + i] = static_cast<T>(total);
    }
}

template <class R>
void by_dtype(const Call& c) {
  cpu::by_float(c.out[0].dtype(), [&](auto t) { reduce<R, decltype(t)>(c); });
}
KernelFor sum_kernel("sum", Device::cpu, by_dtype<Sum>);
KernelFor min_kernel("min", Device::cpu, by_dtype<Min>);
KernelFor max_kernel("max", Device::cpu, by_dtype<Max>);

KernelFor expand_kernel("expand", Device::cpu, [](const Call& c) {
  const Shape& to = c.out[0].shape();
  Shape strides = broadcast_strides(c.in[0].shape(), to);
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T* x = c.in[0].data<T>();
    T* y = c.out[0].data<T>();
    parallel_for(c.out[0].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t from = 0, rest = i;
        for (int axis = to.rank() - 1; axis >= 0; --axis) {
          from += rest % to[axis] * strides[axis];
          rest /= to[axis];
        }
        y[i] = x[from];
      }
    });
  });
});

}  // namespace
}  // namespace vitrine
