// Sums per channel over all rows, in f64 and in one stated order: chunks of rows that depend on the shape alone, each one chain in
// ascending order, then the chunks in ascending order.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/core/parallel.h"
#include "engine/cpu/scratch.h"

namespace vitrine::cpu {

// Rows of a chunk.
inline int64_t channel_chunk(int64_t c) { return std::max<int64_t>(1, 65536 / std::max<int64_t>(1, c)); }

// `count` sums for each of c channels, [count][c]. body(first_row, rows, sums) adds some rows to sums[count][c], which start at 0.
template <class Body>
std::vector<double> channel_sums(int64_t rows, int64_t c, int64_t count, Body&& body) {
  const int64_t length = channel_chunk(c), chunks = chunk_count(rows, length), size = count * c;
  std::vector<double> partial(chunks * size), total(size);
  parallel_chunks(chunks, [&](int64_t k) {
    // Aligned: a vector that is stored across two cache lines and loaded again soon after makes the processor wait.
    const int64_t bytes = size * static_cast<int64_t>(sizeof(double));
    auto* sums = static_cast<double*>(std::memset(scratch_bytes(Slot::gradient, bytes), 0, bytes));
    body(k * length, std::min(length, rows - k * length), sums);
    std::copy_n(sums, size, &partial[k * size]);
  });
  for (int64_t k = 0; k < chunks; ++k)
    for (int64_t i = 0; i < size; ++i) total[i] += partial[k * size + i];
  return total;
}

}  // namespace vitrine::cpu
