// Sums, extremes and the like over a block of kBlock threads, in one stated order: butterflies over the 32 lanes of each warp, then the
// warps in ascending order. Every thread of the block must call, and gets the result.
#pragma once
#include "engine/cuda/launch.cuh"

namespace vitrine::cuda {

template <class T, class Join>
__device__ T warp_reduce(T v, Join join) {
  for (int lane = 16; lane; lane >>= 1) v = join(v, __shfl_xor_sync(0xffffffffu, v, lane));
  return v;
}

template <class T, class Join>
__device__ T block_reduce(T v, Join join) {
  __shared__ T warps[kBlock / 32];
  v = warp_reduce(v, join);
  __syncthreads();  // an earlier call's results may still be read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  v = warps[0];
  for (int w = 1; w < kBlock / 32; ++w) v = join(v, warps[w]);
  return v;
}

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Least {  // NaN is ignored on the right
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};
struct Most {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b > a ? b : a;
  }
};

}  // namespace vitrine::cuda
