// C[m][n] = sum over k of A(m, k) * B(n, k): the one kernel behind products and convolutions. Operands say where their elements lie; a
// convolution's x is an operand that computes the place of a tap, so no patch matrix is ever written (implicit GEMM).
//
// THE ORDER: every element of C is one chain of fused multiply-adds from +0 over k ascending, as on the cpu, so that the bits are those
// of the cpu. A slice owns a range of k and writes a C of its own; sum_slices() adds them in ascending order.
//
// An operand has  Row row(int), Col col(int), T at(Row, Col), and kAlongDepth: whether neighbours in memory are neighbouring k.
// Depths has      Range range(int slice): which k a slice owns.
#pragma once
#include "engine/cuda/launch.cuh"

namespace vitrine::cuda {

__device__ inline float fused(float a, float b, float c) { return ::fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return ::fma(a, b, c); }

struct Range {
  int begin, end;
};
struct WholeDepth {
  int depth;
  __device__ Range range(int) const { return {0, depth}; }
};

// Element (row, k) at data[row * row_step + k * col_step].
template <class T, bool along_depth>
struct Matrix {
  using Row = int64_t;
  using Col = int64_t;
  static constexpr bool kAlongDepth = along_depth;
  const T* data;
  int64_t row_step, col_step;
  __device__ Row row(int i) const { return i * row_step; }
  __device__ Col col(int k) const { return k * col_step; }
  __device__ T at(Row r, Col c) const { return data[r + c]; }
};

constexpr int kTileSide = 64, kTileDepth = 16, kPerThread = 4;  // 64 x 64 elements of C by 16 x 16 threads, 4 x 4 each

// This thread's share of a tile of an operand: four elements, loaded into tile[k][row].
template <class T, class Operand>
struct Loader {
  Operand operand;
  int first, rows;  // of the tile; in all
  typename Operand::Row row[kPerThread];

  static __device__ int lane(int r) {
    const int i = threadIdx.x + kBlock * r;
    return Operand::kAlongDepth ? i / kTileDepth : i % kTileSide;
  }
  static __device__ int depth(int r) {
    const int i = threadIdx.x + kBlock * r;
    return Operand::kAlongDepth ? i % kTileDepth : i / kTileSide;
  }
  __device__ Loader(const Operand& o, int first, int rows) : operand(o), first(first), rows(rows) {
    for (int r = 0; r < kPerThread; ++r) row[r] = operand.row(first + lane(r));
  }
  __device__ void load(T (*tile)[kTileSide + 1], int k, int end) const {
    for (int r = 0; r < kPerThread; ++r) {
      const int at = k + depth(r);
      const bool inside = at < end && first + lane(r) < rows;
      tile[depth(r)][lane(r)] = inside ? operand.at(row[r], operand.col(at)) : T(0);
    }
  }
};

template <class T, class A, class B, class Depths>
__global__ void __launch_bounds__(kBlock) contract_kernel(A a, B b, Depths depths, int tiles_m, int m, int n, T* c) {
  __shared__ T tile_a[kTileDepth][kTileSide + 1], tile_b[kTileDepth][kTileSide + 1];
  const int slice = blockIdx.x / tiles_m, first_m = blockIdx.x % tiles_m * kTileSide, first_n = blockIdx.y * kTileSide;
  const int y = threadIdx.x / 16, x = threadIdx.x % 16;
  const Loader<T, A> load_a(a, first_m, m);
  const Loader<T, B> load_b(b, first_n, n);
  const Range range = depths.range(slice);
  T sum[kPerThread][kPerThread] = {};
  for (int k = range.begin; k < range.end; k += kTileDepth) {
    load_a.load(tile_a, k, range.end);
    load_b.load(tile_b, k, range.end);
    __syncthreads();
    const int depth = range.end - k < kTileDepth ? range.end - k : kTileDepth;
    for (int d = 0; d < depth; ++d) {
      T u[kPerThread], v[kPerThread];
      for (int i = 0; i < kPerThread; ++i) u[i] = tile_a[d][y + 16 * i], v[i] = tile_b[d][x + 16 * i];
      for (int i = 0; i < kPerThread; ++i)
        for (int j = 0; j < kPerThread; ++j) sum[i][j] = fused(u[i], v[j], sum[i][j]);
    }
    __syncthreads();
  }
  c += int64_t{slice} * m * n;
  for (int i = 0; i < kPerThread; ++i)
    for (int j = 0; j < kPerThread; ++j) {
      const int row = first_m + y + 16 * i, col = first_n + x + 16 * j;
      if (row < m && col < n) c[int64_t{row} * n + col] = sum[i][j];
    }
}

template <class T, class A, class B, class Depths>
void contract(const A& a, const B& b, const Depths& depths, int64_t slices, int64_t m, int64_t n, T* c) {
  if (m == 0 || n == 0 || slices == 0) return;
  const int64_t tiles_m = (m + kTileSide - 1) / kTileSide, tiles_n = (n + kTileSide - 1) / kTileSide;
  CHECK(m < int64_t{1} << 31 && tiles_m * slices < int64_t{1} << 31 && tiles_n <= 65535, "cuda: a product of ", m, "x", n, " elements in ",
        slices, " slices exceeds a launch");
  const dim3 grid(static_cast<unsigned>(tiles_m * slices), static_cast<unsigned>(tiles_n));
  LAUNCH((contract_kernel<T, A, B, Depths>), grid, kBlock, a, b, depths, static_cast<int>(tiles_m), static_cast<int>(m),
         static_cast<int>(n), c);
}

template <class T>
void sum_slices(const T* slice, int64_t slices, int64_t n, T* y) {
  each(n, [=] __device__(int64_t i) {
    T sum = slices ? slice[i] : T(0);
    for (int64_t s = 1; s < slices; ++s) sum += slice[s * n + i];
    y[i] = sum;
  });
}

}  // namespace vitrine::cuda
