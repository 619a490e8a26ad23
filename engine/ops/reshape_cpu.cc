#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/cpu/loops.h"
#include "engine/ops/reduce.h"

namespace vitrine {
namespace {

KernelFor transpose_kernel("transpose", Device::cpu, [](const Call& c) {
  const Shape &from = c.in[0].shape(), &to = c.out[0].shape(), &order = c.as<ShapeAttrs>().shape;
  int64_t size = info(c.in[0].dtype()).block_bytes;
  Shape strides;  // of the input, along the axes of the output
  for (int64_t axis : order) strides.push_back(from.product(static_cast<int>(axis) + 1, from.rank()));
  auto* x = static_cast<const char*>(c.in[0].raw());
  auto* y = static_cast<char*>(c.out[0].raw());
  parallel_for(c.out[0].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t at = 0, rest = i;
      for (int axis = to.rank() - 1; axis >= 0; --axis) {
        at += rest % to[axis] * strides[axis];
        rest /= to[axis];
      }
      std::memcpy(y + i * size, x + at * size, size);
    }
  });
});

void check_index(int64_t index, int64_t rows, const char* op) {
  CHECK(index >= 0 && index < rows, op, ": index ", index, " of ", rows, " rows");
}

KernelFor gather_kernel("gather", Device::cpu, [](const Call& c) {
  const Shape& from = c.in[0].shape();
  int64_t bytes = from.product(1, from.rank()) * info(c.in[0].dtype()).block_bytes;
  const int64_t* index = c.in[1].data<int64_t>();
  for (int64_t i = 0; i < c.in[1].numel(); ++i) {
    check_index(index[i], from[0], "gather");
    std::memcpy(static_cast<char*>(c.out[0].raw()) + i * bytes, static_cast<const char*>(c.in[0].raw()) + index[i] * bytes, bytes);
  }
});

KernelFor scatter_kernel("scatter_add", Device::cpu, [](const Call& c) {
  const Shape& to = c.out[0].shape();
  int64_t row = to.product(1, to.rank());
  const int64_t* index = c.in[1].data<int64_t>();
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    T* y = c.out[0].data<T>();
    const T* g = c.in[0].data<T>();
    std::fill_n(y, to.numel(), T(0));
    for (int64_t i = 0; i < c.in[1].numel(); ++i) {
      check_index(index[i], to[0], "scatter_add");
      for (int64_t k = 0; k < row; ++k) y[index[i] * row + k] += g[i * row + k];
    }
  });
});

KernelFor sort_kernel("sort", Device::cpu, [](const Call& c) {
  bool descending = c.as<SortAttrs>().descending;
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T* x = c.in[0].data<T>();
    int64_t* index = c.out[1].data<int64_t>();
    int64_t n = c.in[0].numel();
    std::iota(index, index + n, 0);
    std::stable_sort(index, index + n, [&](int64_t a, int64_t b) {
      if (std::isnan(x[a]) || std::isnan(x[b])) return !std::isnan(x[a]) && std::isnan(x[b]);  // NaN last, either way
      return descending ? x[a] > x[b] : x[a] < x[b];
    });
    for (int64_t i = 0; i < n; ++i) c.out[0].data<T>()[i] = x[index[i]];
  });
});

}  // namespace
}  // namespace vitrine
