// The CUDA runtime as the kernels' launchers need it: the stream everything goes through, and CUDA_CHECK. Only with CUDA=1.
#pragma once
#include <cuda_runtime.h>

#include "engine/core/error.h"

#define CUDA_CHECK(call)                                                                                                             \
  do {                                                                                                                               \
    if (cudaError_t error_ = (call); error_ != cudaSuccess)                                                                          \
      throw ::vitrine::Error(::vitrine::cat("cuda: ", #call, ": ", cudaGetErrorString(error_), " [", __FILE__, ":", __LINE__, "]")); \
  } while (0)

namespace vitrine::cuda {

cudaStream_t stream();  // one for the process: what is queued later sees what was queued before

}  // namespace vitrine::cuda
