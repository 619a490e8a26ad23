// Sums of products of codes, modulo 2^32: of bytes, u8 times s8, by dp4a and by the tensor cores' mma of 16 x 8 x 32; of four bits, u4
// times u4, by their mma of 16 x 8 x 64 (mma: from sm_80 on). The tiles that a block multiplies, and who of its threads owns which sums,
// for each. In sim the instructions have plain twins.
#pragma once
#include "engine/cuda/launch.cuh"

namespace vitrine::cuda {

// c + the sum over j of byte j of a, unsigned, times byte j of b, signed.
__device__ inline uint32_t dp4a(uint32_t a, uint32_t b, uint32_t c) {
#ifdef VITRINE_CUDA_SIM
  for (int j = 0; j < 32; j += 8) c += (a >> j & 255) * static_cast<uint32_t>(static_cast<int8_t>(b >> j & 255));
#else
  asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(c) : "r"(a), "r"(b));
#endif
  return c;
}

// d += a * b by a warp: of bytes, a is 16 x 32 u8, b 32 x 8 s8; of four bits, a is 16 x 64 u4, b 64 x 8 u4; d is 16 x 8. Which lane holds
// which elements: PTX ISA, "Matrix Fragments for mma.m16n8k32" and "mma.m16n8k64"; the twin says it in the manual's terms.
template <int kBits>
__device__ inline void mma(uint32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef VITRINE_CUDA_SIM
  constexpr int kPer = 32 / kBits, kDepth = 8 * kPer;  // elements of a register, of a row
  struct Warp {
    uint32_t a[32][4], b[32][2];  // of each lane
    uint32_t product[16][8];
  };
  static Warp warps[32];
  Warp& warp = warps[threadIdx.x / 32];
  const int lane = static_cast<int>(threadIdx.x % 32);
  std::copy_n(a, 4, warp.a[lane]), std::copy_n(b, 2, warp.b[lane]);
  __syncwarp();
  if (lane == 0) {
    int left[16][kDepth], right[kDepth][8];
    auto element = [](const uint32_t* registers, int i) {
      return static_cast<int>(registers[i / kPer] >> kBits * (i % kPer) & ((1 << kBits) - 1));
    };
    for (int of = 0; of < 32; ++of) {
      const int group = of >> 2, in_group = of % 4;
      for (int i = 0; i < 4 * kPer; ++i)
        left[i < kPer || (2 * kPer <= i && i < 3 * kPer) ? group : group + 8][in_group * kPer + i % kPer + (i < 2 * kPer ? 0 : 4 * kPer)] =
            element(warp.a[of], i);
      for (int i = 0; i < 2 * kPer; ++i) {
        const int v = element(warp.b[of], i);
        right[in_group * kPer + i % kPer + (i < kPer ? 0 : 4 * kPer)][group] = kBits == 8 ? static_cast<int8_t>(v) : v;
      }
    }
    for (int row = 0; row < 16; ++row)
      for (int col = 0; col < 8; ++col) {
        int sum = 0;
        for (int k = 0; k < kDepth; ++k) sum += left[row][k] * right[k][col];
        warp.product[row][col] = static_cast<uint32_t>(sum);
      }
  }
  __syncwarp();
  for (int i = 0; i < 4; ++i) d[i] += warp.product[i < 2 ? lane >> 2 : (lane >> 2) + 8][lane % 4 * 2 + (i & 1)];
#elif __CUDA_ARCH__ >= 800
#define VITRINE_MMA(shape)                                                                            \
  asm volatile("mma.sync.aligned." shape ".s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
  if constexpr (kBits == 8) VITRINE_MMA("m16n8k32.row.col.s32.u8.s8");
  if constexpr (kBits == 4) VITRINE_MMA("m16n8k64.row.col.s32.u4.u4");
#undef VITRINE_MMA
#endif
}

struct alignas(16) Words {  // sixteen bytes, moved at once
  uint32_t at[4];
};

// A tile: kSide rows of 64 bytes along the depth. With four words between rows, both ways of reading them below meet no bank twice.
constexpr int kByteSide = 64, kByteUnits = 4, kBytePitch = kByteUnits + 1;
using ByteRow = Words[kBytePitch];

// A block's sums of kRows x 64 products. step() adds a tile of depth, each() calls f(row, column, sum) for the sums of this thread.
struct DotSums {
  static constexpr int kRows = kByteSide, kBits = 8;
  uint32_t sum[4][4] = {};
  __device__ void step(const ByteRow* x, const ByteRow* w) {
    const int row = threadIdx.x / 16, col = threadIdx.x % 16;
    for (int unit = 0; unit < kByteUnits; ++unit) {
      Words u[4], v[4];
      for (int i = 0; i < 4; ++i) u[i] = x[row + 16 * i][unit], v[i] = w[col + 16 * i][unit];
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j)
          for (int k = 0; k < 4; ++k) sum[i][j] = dp4a(u[i].at[k], v[j].at[k], sum[i][j]);
    }
  }
  template <class F>
  __device__ void each(const F& f) const {
    const int row = threadIdx.x / 16, col = threadIdx.x % 16;
    VITRINE_UNROLL
    for (int n = 0; n < 16; ++n) f(row + 16 * (n / 4), col + 16 * (n % 4), sum[n / 4][n % 4]);
  }
};

// Warps are 4 x 2; each owns kHeight times 16 x 32 sums. A register of a fragment is a word of a row, of whatever width the codes are.
template <int kHeight, int kWidth>
struct TensorSums {
  static constexpr int kRows = kByteSide * kHeight, kBits = kWidth;
  uint32_t sum[kHeight][4][4] = {};
  __device__ static int row(int i) { return static_cast<int>(threadIdx.x / 64 * 16 + threadIdx.x % 32 / 4) + kByteSide * i; }
  __device__ static int col(int j) { return static_cast<int>(threadIdx.x / 32 % 2 * 32 + 8 * j); }
  __device__ void step(const ByteRow* x, const ByteRow* w) {
    const int group = threadIdx.x % 32 / 4, in_group = threadIdx.x % 4;
    for (int unit = 0; unit < kByteUnits; unit += 2) {  // 32 bytes
      uint32_t b[4][2];
      for (int j = 0; j < 4; ++j)
        for (int half = 0; half < 2; ++half) b[j][half] = w[col(j) + group][unit + half].at[in_group];
      for (int i = 0; i < kHeight; ++i) {
        const ByteRow *top = x + row(i), *bottom = top + 8;
        const uint32_t a[4] = {top[0][unit].at[in_group], bottom[0][unit].at[in_group], top[0][unit + 1].at[in_group],
                               bottom[0][unit + 1].at[in_group]};
        for (int j = 0; j < 4; ++j) mma<kBits>(sum[i][j], a, b[j]);
      }
    }
  }
  template <class F>
  __device__ void each(const F& f) const {
    const int in_group = threadIdx.x % 4;
    // Unrolled, or the sums lie in memory and not in registers.
    VITRINE_UNROLL
    for (int n = 0; n < 16 * kHeight; ++n) {
      const int i = n / 16, j = n / 4 % 4, k = n % 4;
      f(row(i) + k / 2 * 8, col(j) + 2 * in_group + k % 2, sum[i][j][k]);
    }
  }
};

}  // namespace vitrine::cuda
