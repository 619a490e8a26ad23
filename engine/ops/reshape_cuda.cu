// transpose, gather, scatter_add and sort: data movement. Sums in scatter_add are taken in the order of the cpu: i ascending.
#include "engine/cuda/strided.cuh"
#include "engine/ops/reduce.h"

namespace vitrine {
namespace {

using cuda::checked, cuda::each, cuda::Fault, cuda::ptr;

// body(T{}) with T as wide as an element.
template <class Body>
void by_width(Dtype d, Body&& body) {
  switch (info(d).block_bytes) {
    case 1:
      return body(uint8_t{});
    case 2:
      return body(uint16_t{});
    case 4:
      return body(uint32_t{});
    default:
      return body(uint64_t{});
  }
}

template <class T>
void transpose(const Call& c) {
  const Shape &from = c.in[0].shape(), &order = c.as<ShapeAttrs>().shape;
  Shape strides;  // of the input, along the axes of the output
  for (int64_t axis : order) strides.push_back(from.product(static_cast<int>(axis) + 1, from.rank()));
  auto read = cuda::strided<1>(c.out[0].shape(), {strides});
  auto* x = static_cast<const T*>(c.in[0].raw());
  auto* y = static_cast<T*>(c.out[0].raw());
  each(c.out[0].numel(), [=] __device__(int64_t i) {
    uint32_t at[1];
    read.locate(static_cast<uint32_t>(i), at);
    y[i] = x[at[0]];
  });
}
KernelFor transpose_kernel("transpose", Device::cuda,
                           [](const Call& c) { by_width(c.in[0].dtype(), [&](auto t) { transpose<decltype(t)>(c); }); });

template <class T>
void gather(const Call& c) {
  const Shape& from = c.in[0].shape();
  const int64_t rows = from[0], row = from.product(1, from.rank()), *index = ptr<int64_t>(c.in[1]);
  auto* x = static_cast<const T*>(c.in[0].raw());
  auto* y = static_cast<T*>(c.out[0].raw());
  Fault* fault = cuda::fault();
  each(c.out[0].numel(), [=] __device__(int64_t i) {
    if (rows > 0) y[i] = x[checked(index[i / row], rows, Fault::gather, fault) * row + i % row];
  });
}
KernelFor gather_kernel("gather", Device::cuda, [](const Call& c) { by_width(c.in[0].dtype(), [&](auto t) { gather<decltype(t)>(c); }); });

template <class T>
void scatter_add(const Call& c) {
  const Shape& to = c.out[0].shape();
  const int64_t rows = to[0], row = to.product(1, to.rank()), n = c.in[1].numel(), *index = ptr<int64_t>(c.in[1]);
  const T* g = ptr<T>(c.in[0]);
  T* y = ptr<T>(c.out[0]);
  Fault* fault = cuda::fault();
  each(n, [=] __device__(int64_t i) { checked(index[i], rows, Fault::scatter, fault); });
  each(to.numel(), [=] __device__(int64_t k) {
    T sum = 0;
    for (int64_t i = 0; i < n; ++i)
      if (index[i] == k / row) sum += g[i * row + k % row];
    y[k] = sum;
  });
}
KernelFor scatter_kernel("scatter_add", Device::cuda,
                         [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { scatter_add<decltype(t)>(c); }); });

// ---- sort: Batcher's bitonic network on indices, padded to a power of two. Equal elements are told apart by their index, which makes
// the order strict, so that any network gives the one stable result.

constexpr int kTile = 2 * cuda::kBlock;  // indices that a block sorts in shared memory

template <class T>
struct Before {
  const T* x;
  int64_t n;
  bool descending;
  __device__ bool operator()(int64_t a, int64_t b) const {
    if (a >= n || b >= n) return a < b;  // padding comes last
    const T u = x[a], v = x[b];
    const bool nan_u = u != u, nan_v = v != v;  // NaN last, either way
    if (nan_u || nan_v) return nan_u == nan_v ? a < b : nan_v;
    if (u == v) return a < b;
    return descending ? u > v : u < v;
  }
};

// Puts list[low], list[low + stride] in order; `size` is the length of the runs being merged.
template <class T>
__device__ void exchange(int64_t* list, int64_t low, int64_t stride, int64_t position, int64_t size, const Before<T>& before) {
  const bool up = (position & size) == 0;
  const int64_t a = list[low], b = list[low + stride];
  if (before(b, a) == up) list[low] = b, list[low + stride] = a;
}

template <class T>
__global__ void sort_tile_kernel(int64_t* list, int64_t from_size, int64_t to_size, Before<T> before) {
  __shared__ int64_t tile[kTile];
  const int64_t base = int64_t{blockIdx.x} * kTile;
  for (int i = threadIdx.x; i < kTile; i += cuda::kBlock) tile[i] = list[base + i];
  for (int64_t size = from_size; size <= to_size; size *= 2)
    for (int64_t stride = size / 2 < cuda::kBlock ? size / 2 : cuda::kBlock; stride > 0; stride /= 2) {
      __syncthreads();
      const int64_t t = threadIdx.x, low = t / stride * 2 * stride + t % stride;
      exchange(tile, low, stride, base + low, size, before);
    }
  __syncthreads();
  for (int i = threadIdx.x; i < kTile; i += cuda::kBlock) list[base + i] = tile[i];
}

template <class T>
void sort(const Call& c) {
  const int64_t n = c.in[0].numel();
  int64_t padded = kTile;
  while (padded < n) padded *= 2;
  Tensor indices = cuda::scratch<int64_t>({padded});
  int64_t* list = ptr<int64_t>(indices);
  const Before<T> before{ptr<T>(c.in[0]), n, c.as<SortAttrs>().descending != 0};
  each(padded, [=] __device__(int64_t i) { list[i] = i; });
  const auto tiles = static_cast<unsigned>(padded / kTile);
  LAUNCH((sort_tile_kernel<T>), tiles, cuda::kBlock, list, int64_t{2}, int64_t{kTile}, before);
  for (int64_t size = 2 * kTile; size <= padded; size *= 2) {
    for (int64_t stride = size / 2; stride >= kTile; stride /= 2)
      each(padded / 2, [=] __device__(int64_t t) {
        const int64_t low = t / stride * 2 * stride + t % stride;
        exchange(list, low, stride, low, size, before);
      });
    LAUNCH((sort_tile_kernel<T>), tiles, cuda::kBlock, list, size, size, before);
  }
  const T* x = before.x;
  T* values = ptr<T>(c.out[0]);
  int64_t* index = ptr<int64_t>(c.out[1]);
  each(n, [=] __device__(int64_t i) { index[i] = list[i], values[i] = x[list[i]]; });
}
KernelFor sort_kernel("sort", Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { sort<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
