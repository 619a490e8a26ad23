// The order of a sum: the reduced extent is cut into chunks whose length depends on the shape alone. Where many elements lie side by side,
// or few are reduced, a thread adds a chunk in ascending order; otherwise a block does, thread t the elements t, t + kBlock, ..., then as
// block.cuh says. The chunks are added in ascending order. All in f64, rounded once.
#include <cmath>

#include "engine/cuda/block.cuh"
#include "engine/cuda/strided.cuh"
#include "engine/ops/reduce.h"
#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

using cuda::each, cuda::ptr;

// x viewed as [outer, reduced, inner] -> y [outer, inner]
struct Extents {
  int64_t outer, reduced, inner, length, chunks;
  bool by_thread;
};

Extents extents(const Shape& s, const ReduceAttrs& a) {
  const int first = static_cast<int>(a.first), last = static_cast<int>(a.first + a.count);
  Extents e{.outer = s.product(0, first), .reduced = s.product(first, last), .inner = s.product(last, s.rank())};
  e.by_thread = e.inner >= 32 || e.reduced <= 64;
  const auto root = static_cast<int64_t>(std::sqrt(static_cast<double>(e.reduced)));
  e.length = e.by_thread ? std::max<int64_t>(64, root) : 32 * cuda::kBlock;
  e.chunks = (e.reduced + e.length - 1) / e.length;
  return e;
}

template <class T, class Join>
void chunks_by_thread(const Extents& e, const T* x, double* partial, double start, Join join) {
  each(e.outer * e.chunks * e.inner, [=] __device__(int64_t job) {
    const int64_t i = job % e.inner, chunk = job / e.inner % e.chunks, o = job / e.inner / e.chunks;
    const int64_t begin = chunk * e.length, end = begin + e.length < e.reduced ? begin + e.length : e.reduced;
    double sum = start;
    for (int64_t r = begin; r < end; ++r) sum = join(sum, static_cast<double>(x[(o * e.reduced + r) * e.inner + i]));
    partial[job] = sum;
  });
}

template <class T, class Join>
void chunks_by_block(const Extents& e, const T* x, double* partial, double start, Join join) {
  cuda::each_block(e.outer * e.chunks * e.inner, [=] __device__(int64_t job) {
    const int64_t i = job % e.inner, chunk = job / e.inner % e.chunks, o = job / e.inner / e.chunks;
    const int64_t begin = chunk * e.length, end = begin + e.length < e.reduced ? begin + e.length : e.reduced;
    double sum = start;
    for (int64_t r = begin + threadIdx.x; r < end; r += cuda::kBlock)
      sum = join(sum, static_cast<double>(x[(o * e.reduced + r) * e.inner + i]));
    sum = cuda::block_reduce(sum, join);
    if (threadIdx.x == 0) partial[job] = sum;
  });
}

template <class T, class Join>
void reduce(const Call& c, double start, Join join) {
  const Extents e = extents(c.in[0].shape(), c.as<ReduceAttrs>());
  Tensor partials = cuda::scratch<double>({e.outer * e.chunks * e.inner});
  double* partial = ptr<double>(partials);
  (e.by_thread ? chunks_by_thread<T, Join> : chunks_by_block<T, Join>)(e, ptr<T>(c.in[0]), partial, start, join);
  T* y = ptr<T>(c.out[0]);
  each(e.outer * e.inner, [=] __device__(int64_t job) {
    const int64_t i = job % e.inner, o = job / e.inner;
    double sum = start;
    for (int64_t k = 0; k < e.chunks; ++k) sum = join(sum, partial[(o * e.chunks + k) * e.inner + i]);
    y[job] = static_cast<T>(sum);
  });
}

template <class Join>
void by_dtype(const Call& c, double start) {
  by_float(c.out[0].dtype(), [&](auto t) { reduce<decltype(t)>(c, start, Join()); });
}
KernelFor sum_kernel("sum", Device::cuda, [](const Call& c) { by_dtype<cuda::Add>(c, 0); });
KernelFor min_kernel("min", Device::cuda, [](const Call& c) { by_dtype<cuda::Least>(c, INFINITY); });
KernelFor max_kernel("max", Device::cuda, [](const Call& c) { by_dtype<cuda::Most>(c, -INFINITY); });

template <class T>
void expand(const Call& c) {
  auto read = cuda::strided<1>(c.out[0].shape(), {broadcast_strides(c.in[0].shape(), c.out[0].shape())});
  const T* x = ptr<T>(c.in[0]);
  T* y = ptr<T>(c.out[0]);
  each(c.out[0].numel(), [=] __device__(int64_t i) {
    uint32_t at[1];
    read.locate(static_cast<uint32_t>(i), at);
    y[i] = x[at[0]];
  });
}
KernelFor expand_kernel("expand", Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { expand<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
