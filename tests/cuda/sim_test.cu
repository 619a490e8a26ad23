// The simulator itself (engine/cuda/sim.h): what CUDA means, and that what a device would leave undefined is an error. Only with CUDA=sim.
#include <gtest/gtest.h>

#include "engine/cuda/block.cuh"
#include "engine/ops/conv2d_cuda.cuh"
#include "tests/cuda.h"

namespace vitrine::cuda {
namespace {

using Values = std::vector<int64_t>;

Tensor list(int64_t n) { return Tensor::zeros({n}, Dtype::i64, Device::cuda); }

template <class Launch>
std::string error_of(const Launch& launch) {
  try {
    launch();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
void expect_error(const std::string& error, const std::string& part) { EXPECT_NE(error.find(part), std::string::npos) << error; }

__global__ void reverse_kernel(int64_t* y) {
  __shared__ int64_t mine[64];
  mine[threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = mine[63 - threadIdx.x];
}
__global__ void racing_kernel(int64_t* y) {
  __shared__ int64_t mine[64];
  mine[threadIdx.x] = threadIdx.x + 1;
  y[threadIdx.x] = mine[63 - threadIdx.x];
}
TEST(Sim, SharedMemoryIsSeenByAllBehindABarrierAndNotBefore) {
  Tensor y = list(64), raced = list(64);
  LAUNCH(reverse_kernel, 1, 64, ptr<int64_t>(y));
  LAUNCH(racing_kernel, 1, 64, ptr<int64_t>(raced));
  auto v = y.values<int64_t>(), w = raced.values<int64_t>();
  bool stale = false;
  for (int64_t i = 0; i < 64; ++i) {
    EXPECT_EQ(v[i], 63 - i);
    stale |= w[i] != 64 - i;
  }
  EXPECT_TRUE(stale) << "a missing barrier went unnoticed";
}

// Each warp writes what the others have yet to read.
__global__ void overtaking_kernel(int64_t* y) {
  __shared__ int64_t warps[2];
  for (int64_t round = 0; round < 2; ++round) {
    __syncwarp();  // of its own lanes alone
    warps[threadIdx.x / 32] = round;
    __syncthreads();
    y[threadIdx.x] += warps[0] + warps[1];
  }
}
TEST(Sim, AWarpIsNotHeldBackByAnotherButByBarriers) {
  Tensor y = list(64);
  LAUNCH(overtaking_kernel, 1, 64, ptr<int64_t>(y));
  bool overtaken = false;
  for (const int64_t v : y.values<int64_t>()) overtaken |= v != 2;
  EXPECT_TRUE(overtaken) << "a missing barrier went unnoticed";
}

__global__ void neighbours_kernel(int64_t* y) {
  __shared__ int64_t mine[64];
  mine[threadIdx.x] = threadIdx.x;
  __syncwarp();
  y[threadIdx.x] = mine[threadIdx.x ^ 31];
}
TEST(Sim, AWarpMeetsAtItsOwnBarrier) {
  Tensor y = list(64);
  LAUNCH(neighbours_kernel, 1, 64, ptr<int64_t>(y));
  for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(y.values<int64_t>()[i], i ^ 31);
}

__global__ void lanes_kernel(int64_t* y) {
  const int i = static_cast<int>(threadIdx.x);
  y[i] = __shfl_xor_sync(0xffffffffu, i, 5) + 100 * __shfl_sync(0xffffffffu, i, 3) + 100000 * int64_t{__any_sync(0xffffffffu, i == 40)};
}
TEST(Sim, ShufflesAndVotesStayInsideAWarp) {
  Tensor y = list(64);
  LAUNCH(lanes_kernel, 1, 64, ptr<int64_t>(y));
  auto v = y.values<int64_t>();
  for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(v[i], (i ^ 5) + 100 * (i / 32 * 32 + 3) + 100000 * (i >= 32)) << i;
}

__global__ void divergent_kernel(bool returns) {
  if (threadIdx.x < 7) {
    if (returns) return;
    __syncthreads();
  } else {
    __syncthreads();
  }
}
TEST(Sim, DivergentBarriersAreErrors) {
  expect_error(error_of([] { LAUNCH(divergent_kernel, 1, 64, false); }), "divergent_kernel: divergent barrier: thread 7 waits at");
  expect_error(error_of([] { LAUNCH(divergent_kernel, 1, 64, true); }),
               "divergent_kernel: thread 0 has returned, others wait at a barrier");
}

__global__ void mask_kernel(uint32_t mask, int from) { __shfl_sync(mask, 1, from); }
__global__ void half_warp_kernel() {
  if (threadIdx.x < 16) __shfl_sync(0xffffffffu, 1, 0);
}
TEST(Sim, ShufflesWhoseMaskAndLanesDisagreeAreErrors) {
  expect_error(error_of([] { LAUNCH(mask_kernel, 1, 32, 0xffffu, 0); }),
               "lane 16 takes part in a shuffle whose mask 65535 does not name it");
  expect_error(error_of([] { LAUNCH(mask_kernel, 1, 16, 0xffffu, 20); }), "asks for lane 20");
  expect_error(error_of([] { LAUNCH(half_warp_kernel, 1, 32); }), "waits in a shuffle for lanes of its mask that never come");
}

#ifndef __SANITIZE_ADDRESS__  // which ends the program at once
__global__ void write_kernel(int64_t* y, int64_t at) { y[at] = 1; }
TEST(Sim, AWriteOutsideOfABufferIsAnError) {
  for (int64_t at : {int64_t{10}, int64_t{-1}}) {
    Tensor y = list(10);
    auto* p = ptr<int64_t>(y);
    expect_error(error_of([&] { LAUNCH(write_kernel, 1, 1, p, at); }),
                 cat("write_kernel: wrote at byte ", at > 0 ? 80 : -8, " of a buffer of 80 bytes"));
    LAUNCH(write_kernel, 1, 1, p, int64_t{0});
  }
}
TEST(SimDeathTest, TheHostCannotTouchDeviceMemory) {
  Tensor y = list(10);
  EXPECT_DEATH(*ptr<int64_t>(y) = 1, "");
}
#endif

TEST(Sim, ADivisorDividesEveryNumberBelowTwoToThe31) {
  constexpr uint32_t kMost = (1u << 31) - 1;
  for (uint32_t d : {1u, 2u, 3u, 5u, 7u, 49u, 64u, 112u, 641u, 5749u, 65535u, 65536u, 65537u, 1u << 30, kMost - 1, kMost})
    for (uint32_t multiple : {0u, 1u, 2u, kMost / d / 2, kMost / d - 1, kMost / d})
      for (int64_t off : {-1, 0, 1}) {
        const int64_t n = int64_t{d} * multiple + off;
        if (n < 0 || n > kMost) continue;
        EXPECT_EQ(Divisor(d).quotient(static_cast<uint32_t>(n)), n / d) << n << " / " << d;
        EXPECT_EQ(Divisor(d).remainder(static_cast<uint32_t>(n)), n % d) << n << " % " << d;
      }
}

TEST(Sim, FillingReachesEveryElementAndNoneBehind) {
  for (int64_t n : {int64_t{1}, int64_t{kBlock}, int64_t{kBlock * kInFlight - 1}, int64_t{kBlock * kInFlight},
                    int64_t{kBlock * kInFlight * kMostBlocks * 2 + 77}}) {
    Tensor y = list(n);
    fill(ptr<int64_t>(y), n, [=] __device__(int64_t i) { return 3 * i + 1; });
    const auto v = y.values<int64_t>();
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(v[i], 3 * i + 1) << i << " of " << n;
  }
}

// What surrounds cuBLAS's product in a 1x1 convolution with strides, and so is not reached by an operator here.
TEST(Sim, PixelsThatAConvolutionWithStridesTakesAreGatheredAndPutBack) {
  const ConvProblem s{.direction = Direction::forward,
                      .n = 2,
                      .h = 6,
                      .w = 9,
                      .c = 3,
                      .o = 4,
                      .kh = 1,
                      .kw = 1,
                      .oh = 3,
                      .ow = 3,
                      .stride_h = 2,
                      .stride_w = 3,
                      .dilation_h = 1,
                      .dilation_w = 1,
                      .groups = 1};
  std::vector<float> v(2 * 6 * 9 * 3), taken, back(v.size());
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i + 1);
  for (int line = 0; line < s.n * s.oh; ++line)
    for (int x = 0; x < s.ow; ++x)
      for (int k = 0; k < s.c; ++k) {
        const int at = ((line / s.oh * s.h + line % s.oh * s.stride_h) * s.w + x * s.stride_w) * s.c + k;
        taken.push_back(v[at]), back[at] = v[at];
      }
  const Tensor gathered = taken_pixels(s, Tensor::from({s.n, s.h, s.w, s.c}, v).to(Device::cuda));
  EXPECT_EQ(gathered.values<float>(), taken);
  const Tensor spread = scratch<float>({s.n, s.h, s.w, s.c});
  spread_pixels(s, gathered, spread);
  EXPECT_EQ(spread.values<float>(), back);
}

TEST(Sim, ALaunchThatNoDeviceTakesIsAnError) {
  expect_error(error_of([] { LAUNCH(half_warp_kernel, 1, 1025); }), "no device launches 1x1x1 blocks of 1025 threads");
}

}  // namespace
}  // namespace vitrine::cuda
