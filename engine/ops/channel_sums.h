// Two sums per channel over all rows, in f64 and in one stated order: chunks of rows that depend on the shape alone, each one chain in
// ascending order, then the chunks in ascending order.
#pragma once
#include <utility>
#include <vector>

#include "engine/core/parallel.h"

namespace vitrine::cpu {

// Rows of a chunk.
inline int64_t channel_chunk(int64_t c) { return std::max<int64_t>(1, 65536 / std::max<int64_t>(1, c)); }

// body(first_row, rows, s, q) adds to the channels' sums s[c] and q[c].
template <class Body>
std::pair<std::vector<double>, std::vector<double>> channel_sums(int64_t rows, int64_t c, Body&& body) {
  int64_t length = channel_chunk(c), chunks = chunk_count(rows, length);
  std::vector<double> partial(2 * chunks * c);
  parallel_chunks(chunks, [&](int64_t k) {
    double* s = &partial[2 * k * c];
    body(k * length, std::min(length, rows - k * length), s, s + c);
  });
  std::pair<std::vector<double>, std::vector<double>> total{std::vector<double>(c), std::vector<double>(c)};
  for (int64_t k = 0; k < chunks; ++k)
    for (int64_t i = 0; i < c; ++i) {
      total.first[i] += partial[2 * k * c + i];
      total.second[i] += partial[(2 * k + 1) * c + i];
    }
  return total;
}

}  // namespace vitrine::cpu
