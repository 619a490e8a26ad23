// Sums per channel over all rows, on the device: the chunks and the order of channel_sums.h, so the bits are those of the cpu.
#pragma once
#include "engine/cuda/launch.cuh"
#include "engine/ops/channel_sums.h"

namespace vitrine::cuda {

// load(i, channel) reads what element i has for its sums; add(loaded, i, channel, sums) adds it to the kSums of them. Some rows are read
// before the first of them is added: a chain of additions waits for memory otherwise. Returns f64 [kSums, c].
template <int kSums, class Load, class Add>
Tensor channel_sums(int64_t rows, int64_t c, Load load, Add add) {
  constexpr int kAhead = 32, kChunksAhead = 64, kFew = 64;  // kFew: threads of a block
  const int64_t length = cpu::channel_chunk(c), chunks = chunk_count(rows, length);
  Tensor partials = scratch<double>({chunks, kSums, c}), totals = scratch<double>({kSums, c});
  double *partial = ptr<double>(partials), *total = ptr<double>(totals);
  each<kFew>(chunks * c, [=] __device__(int64_t job) {
    const int64_t chunk = job / c, channel = job % c, end = (chunk + 1) * length < rows ? (chunk + 1) * length : rows;
    double sums[kSums] = {};
    int64_t r = chunk * length;
    for (; r + kAhead <= end; r += kAhead) {
      decltype(load(r, channel)) v[kAhead];
      for (int u = 0; u < kAhead; ++u) v[u] = load((r + u) * c + channel, channel);
      for (int u = 0; u < kAhead; ++u) add(v[u], (r + u) * c + channel, channel, sums);
    }
    for (; r < end; ++r) add(load(r * c + channel, channel), r * c + channel, channel, sums);
    for (int s = 0; s < kSums; ++s) partial[(kSums * chunk + s) * c + channel] = sums[s];
  });
  each<kFew>(kSums * c, [=] __device__(int64_t i) {
    double sum = 0;
    int64_t k = 0;
    for (; k + kChunksAhead <= chunks; k += kChunksAhead) {
      double v[kChunksAhead];
      for (int u = 0; u < kChunksAhead; ++u) v[u] = partial[kSums * (k + u) * c + i];
      for (int u = 0; u < kChunksAhead; ++u) sum += v[u];
    }
    for (; k < chunks; ++k) sum += partial[kSums * k * c + i];
    total[i] = sum;
  });
  return totals;
}

}  // namespace vitrine::cuda
