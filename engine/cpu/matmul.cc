#include "engine/cpu/matmul.h"

#include <algorithm>
#include <cstring>

#include "engine/core/parallel.h"
#include "engine/cpu/conv_reference.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/scratch.h"
#include "engine/cpu/tap_conv.h"

namespace vitrine::cpu {
namespace {

constexpr int64_t kChunk = 512;  // rows of a panel packed at a time: 64 KB, used at once while in L2

struct Product {
  const Kernels& k;
  int64_t m, n, depth;
  const float *a, *b;
  bool ta, tb;
  float* c;
};

// Rows [k0, k0 + depth) of the columns [j, j + columns) of op(b) as a panel [depth][1 or 2 vectors].
void pack(const Product& p, int64_t k0, int64_t depth, int64_t j, int64_t columns, float* panel) {
  if (p.tb) return pack_rows(p.k, p.b + j * p.depth + k0, p.depth, columns, depth, panel);
  const int64_t pitch = round_up(columns, p.k.lanes);
  for (int64_t k = 0; k < depth; ++k, panel += pitch) {
    std::memcpy(panel, p.b + (k0 + k) * p.n + j, columns * 4);
    std::memset(panel + columns, 0, (pitch - columns) * 4);
  }
}

// Rows of a as they are stored are the pixels of a 1x1 convolution; the chains are taken up again from chunk to chunk.
void rows_times_panel(const Product& p, int64_t i0, int64_t i1, int64_t j, int64_t columns) {
  float* panel = scratch(Slot::strip, std::min(kChunk, p.depth) * 2 * p.k.lanes);
  const int64_t start = 0;
  for (int64_t k0 = 0; k0 == 0 || k0 < p.depth; k0 += kChunk) {
    const int64_t depth = std::min(kChunk, p.depth - k0);
    pack(p, k0, depth, j, columns, panel);
    const Grid rows{p.a + i0 * p.depth + k0, p.c + i0 * p.n + j, 1, 1, i1 - i0, 0, 0, p.depth, 0, 0, p.n};
    run_panel(p.k, rows, &start, 1, depth, panel, columns, k0 > 0);
  }
}

// With a stored [k][m] the product has the form of a weight gradient: k runs over its pixels.
void columns_times_panel(const Product& p, int64_t i0, int64_t i1, int64_t j, int64_t columns) {
  float* panel = scratch(Slot::strip, p.depth * 2 * p.k.lanes);
  pack(p, 0, p.depth, j, columns, panel);
  GradTile t{.x = panel,
             .x_step = round_up(columns, p.k.lanes),
             .g_step = p.m,
             .images = 1,
             .rows = 1,
             .pixels = p.depth,
             .dw_step = p.n,
             .lanes = columns,
             .add = false};
  const auto& table = p.k.grad_tile[columns > p.k.lanes];
  const int64_t tiles = chunk_count(i1 - i0, p.k.grads), size = chunk_count(i1 - i0, tiles);
  for (int64_t i = i0; i < i1; i += size) {
    t.g = p.a + i, t.dw = p.c + i * p.n + j;
    table[std::min(size, i1 - i)](t);
  }
}

void run(const Product& p) {
  if (p.m == 0 || p.n == 0) return;
  const int64_t wide = 2 * p.k.lanes, panels = chunk_count(p.n, wide);
  const int64_t parts = std::clamp<int64_t>(chunk_count(4 * threads(), panels), 1, chunk_count(p.m, 4 * p.k.grads));
  const int64_t rows = chunk_count(p.m, parts);
  parallel_chunks(panels * parts, [&](int64_t task) {
    const int64_t j = task / parts * wide, i0 = std::min(p.m, task % parts * rows), i1 = std::min(p.m, i0 + rows);
    if (i0 == i1) return;
    (p.ta ? columns_times_panel : rows_times_panel)(p, i0, i1, j, std::min(wide, p.n - j));
  });
}

}  // namespace

void matmul(int64_t m, int64_t n, int64_t k, const double* a, bool ta, const double* b, bool tb, double* c) {
  reference::matmul(m, n, k, a, ta, b, tb, c);
}

void matmul(int64_t m, int64_t n, int64_t k, const float* a, bool ta, const float* b, bool tb, float* c) {
  if (isa() == Isa::plain) return reference::matmul(m, n, k, a, ta, b, tb, c);
  run({kernels(), m, n, k, a, b, ta, tb, c});
}

}  // namespace vitrine::cpu
