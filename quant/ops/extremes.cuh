// Extremes on the device. They do not depend on an order, so ranges have the bits of the cpu.
#pragma once
#include "engine/cuda/block.cuh"

namespace vitrine::quant {

// Least and greatest of value(i) for i in [0, n) and of (lo, hi): f32 or f64 [2] in `at`, which holds lo and hi before.
template <class T, class Value>
void widen(int64_t n, Value value, T* at) {
  using cuda::Least, cuda::Most, cuda::kBlock;
  constexpr int64_t kAhead = 8, kPiece = 8 * kAhead * kBlock;  // elements read before they are compared; to a block
  const int64_t blocks = (n + kPiece - 1) / kPiece;
  Tensor partials = cuda::scratch<T>({blocks, 2});
  T* partial = cuda::ptr<T>(partials);
  cuda::each_block(blocks, [=] __device__(int64_t b) {
    T low = at[0], high = at[1];
    const int64_t end = (b + 1) * kPiece < n ? (b + 1) * kPiece : n;
    int64_t i = b * kPiece + threadIdx.x;
    for (; i + (kAhead - 1) * kBlock < end; i += kAhead * kBlock) {
      T v[kAhead];
      VITRINE_UNROLL
      for (int u = 0; u < kAhead; ++u) v[u] = value(i + u * kBlock);
      VITRINE_UNROLL
      for (int u = 0; u < kAhead; ++u) low = Least()(low, v[u]), high = Most()(high, v[u]);
    }
    for (; i < end; i += kBlock) {
      const T v = value(i);
      low = Least()(low, v), high = Most()(high, v);
    }
    low = cuda::block_reduce(low, Least()), high = cuda::block_reduce(high, Most());
    if (threadIdx.x == 0) partial[2 * b] = low, partial[2 * b + 1] = high;
  });
  cuda::each_block(1, [=] __device__(int64_t) {
    T low = at[0], high = at[1];
    for (int64_t b = threadIdx.x; b < blocks; b += kBlock) low = Least()(low, partial[2 * b]), high = Most()(high, partial[2 * b + 1]);
    low = cuda::block_reduce(low, Least()), high = cuda::block_reduce(high, Most());
    if (threadIdx.x == 0) at[0] = low, at[1] = high;
  });
}

}  // namespace vitrine::quant
