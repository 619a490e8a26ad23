// Two sums per channel over all rows, on the device: the chunks and the order of channel_sums.h, so the bits are those of the cpu.
#pragma once
#include "engine/cuda/launch.cuh"
#include "engine/ops/channel_sums.h"

namespace vitrine::cuda {

// term(row, channel, s, q) adds to the two sums. Returns f64 [2, c].
template <class Term>
Tensor channel_sums(int64_t rows, int64_t c, Term term) {
  const int64_t length = cpu::channel_chunk(c), chunks = chunk_count(rows, length);
  Tensor partials = scratch<double>({chunks, 2, c}), totals = scratch<double>({2, c});
  double *partial = ptr<double>(partials), *total = ptr<double>(totals);
  each(chunks * c, [=] __device__(int64_t job) {
    const int64_t chunk = job / c, channel = job % c, end = (chunk + 1) * length < rows ? (chunk + 1) * length : rows;
    double s = 0, q = 0;
    for (int64_t r = chunk * length; r < end; ++r) term(r, channel, s, q);
    partial[2 * chunk * c + channel] = s, partial[(2 * chunk + 1) * c + channel] = q;
  });
  each(2 * c, [=] __device__(int64_t i) {
    double sum = 0;
    for (int64_t k = 0; k < chunks; ++k) sum += partial[2 * k * c + i];
    total[i] = sum;
  });
  return totals;
}

}  // namespace vitrine::cuda
