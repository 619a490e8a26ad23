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

constexpr int64_t kChunk = 512;       // of the depth: a packed panel of 64 KB, used at once while in L2
constexpr int64_t kBlockRows = 256;   // of op(a): 512 KB with kChunk
constexpr int64_t kBlockPanels = 16;  // of columns
constexpr int64_t kCopiedRows = 128;  // fewer: reading b dominates, so one panel goes through the whole depth, in step with the prefetcher

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

// Rows [i0, i1) of a times the columns [j0, j1): rows of a, as they are stored, are the pixels of a 1x1 convolution, and the chains are
// taken up again from chunk to chunk of the depth. Many rows are copied first: the rows of a tile lie where they share a set of L1.
void rows_times_columns(const Product& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  const int64_t wide = 2 * p.k.lanes, rows = i1 - i0, pitch = kChunk + p.k.lanes, start = 0;
  float* panel = scratch(Slot::weights, kChunk * wide);
  float* copy = rows < kCopiedRows ? nullptr : scratch(Slot::strip, rows * pitch);
  for (int64_t k0 = 0; k0 == 0 || k0 < p.depth; k0 += kChunk) {
    const int64_t depth = std::min(kChunk, p.depth - k0);
    const float* a = p.a + i0 * p.depth + k0;
    for (int64_t i = 0; copy && i < rows; ++i) std::memcpy(copy + i * pitch, a + i * p.depth, depth * 4);
    for (int64_t j = j0; j < j1; j += wide) {
      const int64_t columns = std::min(wide, j1 - j);
      pack(p, k0, depth, j, columns, panel);
      const Grid grid{copy ? copy : a, p.c + i0 * p.n + j, 1, 1, rows, 0, 0, copy ? pitch : p.depth, 0, 0, p.n};
      run_panel(p.k, grid, &start, 1, depth, {panel, round_up(columns, p.k.lanes), columns}, k0 > 0);
    }
  }
}

// With a stored [k][m] the product has the form of a weight gradient: k runs over its pixels.
void columns_times_columns(const Product& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  const int64_t wide = 2 * p.k.lanes, tiles = chunk_count(i1 - i0, p.k.grads), size = chunk_count(i1 - i0, tiles);
  float* panel = scratch(Slot::strip, p.depth * wide);
  for (int64_t j = j0; j < j1; j += wide) {
    const int64_t columns = std::min(wide, j1 - j);
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
    for (int64_t i = i0; i < i1; i += size) {
      t.g = p.a + i, t.dw = p.c + i * p.n + j;
      table[std::min(size, i1 - i)](t);
    }
  }
}

// Tasks: blocks of at most kBlockRows rows times as many columns as leave enough tasks.
void run(const Product& p) {
  if (p.m == 0 || p.n == 0) return;
  const int64_t wide = 2 * p.k.lanes, panels = chunk_count(p.n, wide);
  const int64_t block = p.ta ? std::max(kBlockRows, chunk_count(p.m * panels, 4 * threads())) : kBlockRows;
  const int64_t rows = chunk_count(p.m, chunk_count(p.m, block)), down = chunk_count(p.m, rows);
  const int64_t most = rows < kCopiedRows ? 1 : kBlockPanels;
  const int64_t group = std::clamp<int64_t>(panels * down / (4 * threads()), 1, most), across = chunk_count(panels, group);
  parallel_chunks(down * across, [&](int64_t task) {
    const int64_t i0 = task / across * rows, j0 = task % across * group * wide;
    (p.ta ? columns_times_columns : rows_times_columns)(p, i0, std::min(p.m, i0 + rows), j0, std::min(p.n, j0 + group * wide));
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
