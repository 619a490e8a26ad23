// CUDA's execution model on one host thread, for CUDA=sim: what g++ compiles the kernels against. Slow and exact. Every thread of a block
// is a fiber, so that shared memory, barriers, shuffles and votes mean what they mean. Errors, by the name of the kernel: threads that
// wait at different barriers, or for a thread that has returned; a shuffle whose mask and lanes disagree; a byte written outside of every
// buffer. Outside of kernels and copies device memory cannot be touched, as on a real device. It says nothing about speed, nor about the
// order in which a device makes writes visible.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace vitrine::cuda::sim {

struct Place {
  dim3 thread, block, block_dim, grid_dim;
};
extern Place here;  // of the thread that runs

void launch(const char* kernel, dim3 grid, dim3 block, const std::function<void()>& body);
template <class Kernel, class... Args>
void launch_by_value(const char* name, dim3 grid, dim3 block, Kernel kernel, Args... args) {
  launch(name, grid, block, [=] { kernel(args...); });  // by value: a recorded launch comes later
}
void block_barrier(const char* file, int line);
void warp_barrier(uint32_t mask);
// All lanes of `mask` meet; each puts in `mine` and gets what lane `from` put in. from < 0: the or of all.
uint64_t meet(uint32_t mask, uint64_t mine, int from);
int lane();

template <class T>
T shuffle(uint32_t mask, T v, int from) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  bits = meet(mask, bits, from);
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

}  // namespace vitrine::cuda::sim

#define threadIdx (::vitrine::cuda::sim::here.thread)
#define blockIdx (::vitrine::cuda::sim::here.block)
#define blockDim (::vitrine::cuda::sim::here.block_dim)
#define gridDim (::vitrine::cuda::sim::here.grid_dim)
#define __syncthreads() ::vitrine::cuda::sim::block_barrier(__FILE__, __LINE__)
#define __syncwarp() ::vitrine::cuda::sim::warp_barrier(0xffffffffu)
#define LAUNCH(kernel, grid, block, ...) ::vitrine::cuda::sim::launch_by_value(#kernel, grid, block, kernel __VA_OPT__(, ) __VA_ARGS__)

template <class T>
T __shfl_xor_sync(uint32_t mask, T v, int bits) {
  return vitrine::cuda::sim::shuffle(mask, v, vitrine::cuda::sim::lane() ^ bits);
}
template <class T>
T __shfl_sync(uint32_t mask, T v, int from) {
  return vitrine::cuda::sim::shuffle(mask, v, from & 31);
}
inline uint32_t __ballot_sync(uint32_t mask, bool v) {
  return static_cast<uint32_t>(vitrine::cuda::sim::meet(mask, uint64_t{v} << vitrine::cuda::sim::lane(), -1));
}
inline bool __any_sync(uint32_t mask, bool v) { return __ballot_sync(mask, v) != 0; }
template <class T>
T atomicAdd(T* at, T v) {
  T before = *at;
  *at += v;
  return before;
}
