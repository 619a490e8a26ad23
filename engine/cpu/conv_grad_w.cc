// The dense weight gradient. Threads share out dW, so no sum is ever split between them: a task owns one panel of weight columns for a
// range of outputs, and walks all pixel blocks in order. Per block it lays its columns of x out in a zero-padded strip, and each register
// tile of dW runs over the whole block.
#include <algorithm>
#include <cstring>

#include "engine/core/parallel.h"
#include "engine/cpu/conv.h"
#include "engine/cpu/conv_dense.h"
#include "engine/cpu/pad.h"
#include "engine/cpu/scratch.h"
#include "engine/cpu/tap_conv.h"

namespace vitrine::cpu {
namespace {

// The columns of dW that a strip pixel holds side by side: the channels of one tap, or, when those are few, of a whole row of taps.
struct Columns {
  bool merged;     // column = kx * c + i, otherwise i
  int64_t extent;  // number of columns
  int64_t taps_x;  // taps along x that need a separate pass
};

Columns columns(const Kernels& k, const ConvShape& s) {
  bool merged = s.groups == 1 && s.dilation_w == 1 && s.kw > 1 && s.c < 2 * k.lanes;
  return merged ? Columns{true, s.kw * s.c, 1} : Columns{false, s.group_in(), s.kw};
}

struct Task {
  const Kernels& k;
  const ConvShape& s;
  const Columns& cols;
  const float *x, *g;
  float* gw;
  int64_t group, first, count;  // columns [first, first + count) of this group
  int64_t o0, o1;               // outputs of the group

  int64_t channels() const { return cols.merged ? s.c : count; }
  int64_t pitch() const { return cols.merged ? s.c : round_up(count, k.lanes); }
  bool in_place() const { return !cols.merged && s.pad_h == 0 && s.pad_w == 0 && count % k.lanes == 0; }
};

// The pixels of one block: its images, rows of y, and where its strip lies.
struct Box {
  int64_t n, images, y, rows;
};

// Addresses of the block's x and g for the tap (0, 0); fills the strip if the taps cannot read x itself.
GradTile open_block(const Task& t, const Box& b) {
  const ConvShape& s = t.s;
  const int64_t channel = t.group * s.group_in() + (t.cols.merged ? 0 : t.first);
  GradTile tile{};
  if (t.in_place()) {
    tile.x = t.x + (b.n * s.h + b.y * s.stride_h) * s.w * s.c + channel;
    tile.x_image = s.h * s.w * s.c, tile.x_row = s.stride_h * s.w * s.c, tile.x_step = s.stride_w * s.c;
    tile.x_ahead = b.rows < s.oh ? b.rows * tile.x_row : b.images * tile.x_image;
  } else {
    const int64_t rows = (b.rows - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1;
    const int64_t cols = (s.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1, image = rows * cols * t.pitch();
    float* strip = scratch(Slot::strip, b.images * image + 4 * t.k.lanes);  // unused lanes of a merged row may read beyond
    for (int64_t i = 0; i < b.images; ++i)
      copy_padded({t.x + (b.n + i) * s.h * s.w * s.c + channel, s.h, s.w, s.c, t.channels()}, b.y * s.stride_h - s.pad_h, rows, -s.pad_w,
                  cols, t.pitch(), strip + i * image);
    tile.x = strip + (t.cols.merged ? t.first : 0);
    tile.x_image = image, tile.x_row = s.stride_h * cols * t.pitch(), tile.x_step = s.stride_w * t.pitch();
  }
  tile.g = t.g + (b.n * s.oh + b.y) * s.ow * s.o + t.group * s.group_out();
  tile.g_image = s.oh * s.ow * s.o, tile.g_row = s.ow * s.o, tile.g_step = s.o;
  tile.images = b.images, tile.rows = b.rows, tile.pixels = s.ow;
  // Blocks follow each other in memory. A tile reads a few floats of every pixel, too far apart for the hardware to see it coming.
  tile.g_ahead = b.images * b.rows * s.ow * s.o;
  return tile;
}

// Rows and images whose addresses continue each other become longer rows.
void flatten(GradTile& t) {
  if (t.x_row == t.pixels * t.x_step && t.g_row == t.pixels * t.g_step) t.pixels *= t.rows, t.rows = 1;
  if (t.rows == 1 && t.x_image == t.pixels * t.x_step && t.g_image == t.pixels * t.g_step) t.pixels *= t.images, t.images = 1;
  if (t.rows == 1 && t.pixels == 1) t.pixels = t.images, t.x_step = t.x_image, t.g_step = t.g_image, t.images = 1;
}

void run_block(const Task& t, const Box& b, bool add) {
  const ConvShape& s = t.s;
  const GradTile base = open_block(t, b);
  const int64_t tap_x = s.dilation_w * base.x_step / s.stride_w, tap_y = s.dilation_h * base.x_row / s.stride_h;
  const int64_t row = s.kh * s.kw * s.group_in();  // of dW: one output
  const int64_t tiles = chunk_count(t.o1 - t.o0, t.k.grads), size = chunk_count(t.o1 - t.o0, tiles);
  const auto& table = t.k.grad_tile[t.count > t.k.lanes];
  for (int64_t ky = 0; ky < s.kh; ++ky)
    for (int64_t kx = 0; kx < t.cols.taps_x; ++kx) {
      GradTile tile = base;
      tile.x += ky * tap_y + kx * tap_x;
      tile.dw_step = row, tile.lanes = t.count, tile.add = add;
      flatten(tile);
      float* dw = t.gw + t.group * s.group_out() * row + (ky * s.kw + kx) * s.group_in() + t.first;
      for (int64_t o = t.o0; o < t.o1; o += size) {
        tile.dw = dw + o * row, tile.g = base.g + o;
        table[std::min(size, t.o1 - o)](tile);
        tile.x_ahead = 0;
      }
    }
}

}  // namespace

void dense_grad_w(const Kernels& k, const ConvShape& s, const float* x, const float* g, float* gw) {
  const GradWBlocks blocks = grad_w_blocks(s);
  if (blocks.count() == 0) return void(std::memset(gw, 0, s.w_numel() * 4));
  const Columns cols = columns(k, s);
  const int64_t wide = 2 * k.lanes, panels = chunk_count(cols.extent, wide), tiles = chunk_count(s.group_out(), k.grads);
  const int64_t parts = std::clamp<int64_t>(chunk_count(2 * threads(), s.groups * panels), 1, tiles);
  const int64_t size = chunk_count(s.group_out(), parts);
  parallel_chunks(s.groups * panels * parts, [&](int64_t index) {
    const int64_t group = index / parts / panels, first = index / parts % panels * wide, o0 = index % parts * size;
    const Task task{k,
                    s,
                    cols,
                    x,
                    g,
                    gw,
                    group,
                    first,
                    std::min(wide, cols.extent - first),
                    std::min(o0, s.group_out()),
                    std::min(o0 + size, s.group_out())};
    if (task.o0 == task.o1) return;
    for (int64_t b = 0; b < blocks.count(); ++b) {
      const int64_t n = b / blocks.down * blocks.images, y = b % blocks.down * blocks.rows;
      run_block(task, {n, std::min(blocks.images, s.n - n), y, std::min(blocks.rows, s.oh - y)}, b > 0);
    }
  });
}

}  // namespace vitrine::cpu
