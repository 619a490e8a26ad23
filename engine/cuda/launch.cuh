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

namespace vitrine::cuda {

inline constexpr int kBlock = 256;  // threads of a block, in every kernel that does not say otherwise
#ifdef VITRINE_CUDA_SIM
inline constexpr int64_t kMostBlocks = 4;  // of grid-stride loops: enough for every block to go round more than once
#else
inline constexpr int64_t kMostBlocks = 4096;
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

// f(row) by one block for each row: what needs barriers or sums over the block (block.cuh).
template <class F>
__global__ void each_block_kernel(int64_t n, F f) {
  for (int64_t row = blockIdx.x; row < n; row += gridDim.x) f(row);
}
template <class F>
void each_block(int64_t n, F f) {
  if (n > 0) LAUNCH((each_block_kernel<F>), static_cast<unsigned>(std::min<int64_t>(n, 65535)), kBlock, n, f);
}

// Notes a fault if an index is out of range; returns one that is in range.
__device__ inline int64_t checked(int64_t index, int64_t limit, Fault::What what, Fault* fault) {
  if (index >= 0 && index < limit) return index;
  fault->value = index, fault->limit = limit, fault->what = what;
  return 0;
}

}  // namespace vitrine::cuda
