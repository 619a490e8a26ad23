// What every kernel file includes: LAUNCH (the one place with a launch), each() for elementwise work, and pointers of tensors.
// The same file is compiled by nvcc, and by g++ with the simulator (sim.h).
#pragma once
#include <algorithm>

#include "engine/core/by_float.h"
#include "engine/core/op.h"
#include "engine/cuda/fault.h"

#ifdef VITRINE_CUDA_SIM
#include "engine/cuda/sim.h"
#else
#include "engine/cuda/runtime.h"
#define LAUNCH(kernel, grid, block, ...)                                   \
  do {                                                                     \
    const dim3 grid_(grid), block_(block);                                 \
    auto kernel_ = kernel;                                                 \
    kernel_<<<grid_, block_, 0, ::vitrine::cuda::stream()>>>(__VA_ARGS__); \
    CUDA_CHECK(cudaGetLastError());                                        \
  } while (0)
#endif

// Before a loop whose array must stay in registers; before one that is rare and would only be in the way of the others' instructions.
#ifdef __CUDACC__
#define VITRINE_UNROLL _Pragma("unroll")
#define VITRINE_ROLLED _Pragma("unroll 1")
#else
#define VITRINE_UNROLL
#define VITRINE_ROLLED
#endif

namespace vitrine::cuda {

inline constexpr int kBlock = 256;  // threads of a block, in every kernel that does not say otherwise
#ifdef VITRINE_CUDA_SIM
inline constexpr int64_t kMostBlocks = 4;  // of grid-stride loops: enough for every block to go round more than once
inline constexpr int64_t kMostRows = 4;    // the same where a block takes rows
#else
inline constexpr int64_t kMostBlocks = 4096;
inline constexpr int64_t kMostRows = 65535;
#endif

template <class T>
T* ptr(const Tensor& t) {
  CHECK(t.dtype() == dtype_of<T>(), "cuda: read as ", info(dtype_of<T>()).name, " but it is ", str(t.meta()));
  return static_cast<T*>(t.raw());
}
template <class T>
Tensor scratch(Shape shape) {
  return Tensor::empty({shape, dtype_of<T>(), Device::cuda});
}

template <class F>
__global__ void each_kernel(int64_t n, F f) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x) f(i);
}

// f(i) for i in [0, n), by as many threads as there is work for. Neighbouring i are neighbouring threads.
template <class F>
void each(int64_t n, F f) {
  if (n > 0) LAUNCH((each_kernel<F>), static_cast<unsigned>(std::min((n + kBlock - 1) / kBlock, kMostBlocks)), kBlock, n, f);
}

// y[i] = f(i), rounded if y is bf16. A thread does some elements a block apart, and all their reads before their writes: what is on its way
// at once is what hides the memory's latency, and no compiler moves reads past writes that might alias. f may read y[i].
inline constexpr int kInFlight = 4;
template <class T, class F>
__global__ void fill_kernel(int64_t n, T* y, F f) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kInFlight;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x * kInFlight + threadIdx.x; i < n; i += step) {
    T v[kInFlight];
    if (i + (kInFlight - 1) * int64_t{blockDim.x} < n) {
      VITRINE_UNROLL
      for (int u = 0; u < kInFlight; ++u) v[u] = static_cast<T>(f(i + u * int64_t{blockDim.x}));
      VITRINE_UNROLL
      for (int u = 0; u < kInFlight; ++u) y[i + u * int64_t{blockDim.x}] = v[u];
    } else {
      for (int64_t at = i; at < n; at += blockDim.x) y[at] = static_cast<T>(f(at));
    }
  }
}
template <class T, class F>
void fill(T* y, int64_t n, F f) {
  constexpr int64_t kPiece = kBlock * kInFlight;
  if (n > 0) LAUNCH((fill_kernel<T, F>), static_cast<unsigned>(std::min((n + kPiece - 1) / kPiece, kMostBlocks)), kBlock, n, y, f);
}

// n / d and n % d of n < 2^31 by a multiplication: elementwise kernels would otherwise spend their time on divisions.
// With p = 31 + ceil(log2 d) and m = ceil(2^p / d), n / d = n m >> p (Granlund and Montgomery 1994, theorem 4.2).
class Divisor {
 public:
  Divisor() = default;
  explicit Divisor(int64_t d) : d_(static_cast<uint32_t>(d)) {
    if (d <= 1) return;
    int p = 31;
    while (int64_t{1} << (p - 31) < d) ++p;
    multiplier_ = static_cast<uint32_t>(((uint64_t{1} << p) + d_ - 1) / d_), shift_ = p - 32;
  }
  __host__ __device__ uint32_t quotient(uint32_t n) const {
    return d_ == 1 ? n : static_cast<uint32_t>(uint64_t{n} * multiplier_ >> 32) >> shift_;
  }
  __host__ __device__ uint32_t remainder(uint32_t n) const { return n - quotient(n) * d_; }

 private:
  uint32_t d_ = 1, multiplier_ = 0;
  int shift_ = 0;
};

// The channel of element i of a tensor [..., c].
class ChannelOf {
 public:
  ChannelOf(int64_t numel, int64_t c) : c_(c) {
    CHECK(numel < int64_t{1} << 31, "cuda: ", numel, " elements by channel, expected fewer than 2^31");
  }
  __device__ int64_t operator()(int64_t i) const { return c_.remainder(static_cast<uint32_t>(i)); }

 private:
  Divisor c_;
};

// f(row) by one block for each row: what needs barriers or sums over the block (block.cuh).
template <class F>
__global__ void each_block_kernel(int64_t n, F f) {
  for (int64_t row = blockIdx.x; row < n; row += gridDim.x) f(row);
}
template <class F>
void each_block(int64_t n, F f) {
  if (n > 0) LAUNCH((each_block_kernel<F>), static_cast<unsigned>(std::min(n, kMostRows)), kBlock, n, f);
}

// Notes a fault if an index is out of range; returns one that is in range.
__device__ inline int64_t checked(int64_t index, int64_t limit, Fault::What what, Fault* fault) {
  if (index >= 0 && index < limit) return index;
  fault->value = index, fault->limit = limit, fault->what = what;
  return 0;
}

}  // namespace vitrine::cuda
