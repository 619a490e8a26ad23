// Sums per channel over all rows, on the device: the chunks and the order of channel_sums.h, so the bits are those of the cpu.
#pragma once
#include "engine/cuda/launch.cuh"
#include "engine/ops/channel_sums.h"

namespace vitrine::cuda {

constexpr int kChannels = 64, kReaders = kBlock / kChannels;  // of a block; threads that read for each channel

// A block for each chunk of `length` rows and 64 channels: all its threads read a tile of rows, the next one while a thread for each
// channel adds the last to its chains. So few chains would wait for memory if they read for themselves. out is [chunks][kSums][c].
template <int kSums, class Load, class Add>
__global__ void chains_kernel(int64_t rows, int64_t c, int64_t length, double* out, Load load, Add add) {
  using Loaded = decltype(load(rows, c));
  constexpr int kTile = sizeof(Loaded) > 8 ? 32 : 64, kEach = kTile / kReaders;
  __shared__ Loaded tile[kTile][kChannels];
  const int column = threadIdx.x % kChannels, reader = threadIdx.x / kChannels;
  const int64_t groups = (c + kChannels - 1) / kChannels, chunk = blockIdx.x / groups;
  const int64_t channel = blockIdx.x % groups * kChannels + column, first = chunk * length;
  const int64_t end = first + length < rows ? first + length : rows;
  Loaded next[kEach];
  const auto read = [&](int64_t from) {
    VITRINE_UNROLL
    for (int u = 0; u < kEach; ++u) {
      const int64_t row = from + reader + u * kReaders;
      if (row < end && channel < c) next[u] = load(row * c + channel, channel);
    }
  };
  double sums[kSums] = {};
  read(first);
  for (int64_t from = first; from < end; from += kTile) {
    VITRINE_UNROLL
    for (int u = 0; u < kEach; ++u) tile[reader + u * kReaders][column] = next[u];
    __syncthreads();
    read(from + kTile);
    const int count = static_cast<int>(from + kTile < end ? kTile : end - from);
    if (reader == 0 && channel < c)
      for (int r = 0; r < count; ++r) add(tile[r][column], (from + r) * c + channel, channel, sums);
    __syncthreads();
  }
  if (reader == 0 && channel < c)
    for (int s = 0; s < kSums; ++s) out[(kSums * chunk + s) * c + channel] = sums[s];
}
template <int kSums, class Load, class Add>
void chains(int64_t rows, int64_t c, int64_t length, double* out, Load load, Add add) {
  const int64_t blocks = std::max<int64_t>(1, chunk_count(rows, length)) * chunk_count(c, kChannels);  // no rows: zeros
  CHECK(blocks < int64_t{1} << 31, "cuda: sums of ", rows, " rows of ", c, " channels exceed a launch");
  if (blocks > 0) LAUNCH((chains_kernel<kSums, Load, Add>), static_cast<unsigned>(blocks), kBlock, rows, c, length, out, load, add);
}

// load(i, channel) reads what element i has for its sums; add(loaded, i, channel, sums) adds it to the kSums of them. Returns f64 [kSums,
// c].
template <int kSums, class Load, class Add>
Tensor channel_sums(int64_t rows, int64_t c, Load load, Add add) {
  const int64_t length = cpu::channel_chunk(c), chunks = chunk_count(rows, length);
  Tensor partials = scratch<double>({chunks, kSums, c}), totals = scratch<double>({kSums, c});
  const double* partial = ptr<double>(partials);
  if (chunks > 0) chains<kSums>(rows, c, length, ptr<double>(partials), load, add);
  chains<1>(
      chunks, kSums * c, std::max<int64_t>(1, chunks), ptr<double>(totals), [=] __device__(int64_t i, int64_t) { return partial[i]; },
      [=] __device__(double v, int64_t, int64_t, double* sum) { sum[0] += v; });
  return totals;
}

}  // namespace vitrine::cuda
