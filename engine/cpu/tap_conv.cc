#include "engine/cpu/tap_conv.h"

#include <algorithm>

#include "engine/core/parallel.h"
#include "engine/cpu/pad.h"
#include "engine/cpu/scratch.h"

namespace vitrine::cpu {
namespace {

constexpr int64_t kBlockFloats = 96 << 10;  // source floats of a block: with a panel of weights they stay in a 1 MB L2
constexpr int64_t kMinPixels = 98;          // of a block: fewer, and fetching the weights from L3 would show
constexpr int64_t kTasksPerThread = 4;

// Where the taps reach, relative to the pixel at (oy * step_y, ox * step_x).
struct Reach {
  int64_t y0 = 0, y1 = 0, x0 = 0, x1 = 0;
};

Reach reach(const std::vector<Tap>& taps) {
  if (taps.empty()) return {};
  Reach r{taps[0].y, taps[0].y, taps[0].x, taps[0].x};
  for (const Tap& t : taps) r = {std::min(r.y0, t.y), std::max(r.y1, t.y), std::min(r.x0, t.x), std::max(r.x1, t.x)};
  return r;
}

bool needs_padding(const TapConv& t, const Reach& r) {
  return r.y0 < 0 || r.x0 < 0 || (t.oh - 1) * t.step_y + r.y1 >= t.h || (t.ow - 1) * t.step_x + r.x1 >= t.w;
}

// Taps form a grid: if those of its first row are neighbours, the inputs of every row are one contiguous run of this many taps.
int64_t taps_per_run(const std::vector<Tap>& taps) {
  size_t m = 1;
  while (m < taps.size() && taps[m].y == taps[0].y && taps[m].x == taps[m - 1].x + 1) ++m;
  return static_cast<int64_t>(m);
}

// Merges axes that are one arithmetic progression of addresses: pointwise convolutions and products become a single row.
void flatten(Grid& g) {
  if (g.x_row == g.cols * g.x_pixel && g.y_row == g.cols * g.y_pixel) g.cols *= g.rows, g.rows = 1;
  if (g.rows == 1 && g.x_image == g.cols * g.x_pixel && g.y_image == g.cols * g.y_pixel) g.cols *= g.images, g.images = 1;
  if (g.rows == 1 && g.cols == 1) g.cols = g.images, g.x_pixel = g.x_image, g.y_pixel = g.y_image, g.images = 1;
}

// How a grid is cut: extents of one block, as equal as possible, and the number of blocks along each axis.
struct Cut {
  int64_t images, rows, cols, along_images, along_rows, along_cols;
  int64_t count() const { return along_images * along_rows * along_cols; }
};

Cut cut(const Grid& g, int64_t pixels, bool whole_rows) {
  auto fit = [](int64_t extent, int64_t want, int64_t& size, int64_t& count) {
    count = (extent + want - 1) / want;
    size = (extent + count - 1) / count;
    count = (extent + size - 1) / size;
  };
  Cut c;
  fit(g.cols, whole_rows ? g.cols : std::min(pixels, g.cols), c.cols, c.along_cols);
  fit(g.rows, std::clamp<int64_t>(pixels / g.cols, 1, g.rows), c.rows, c.along_rows);
  fit(g.images, std::clamp<int64_t>(pixels / (g.cols * g.rows), 1, g.images), c.images, c.along_images);
  return c;
}

struct Block {
  int64_t n, y, x;  // first image, row and column
  Grid grid;        // of its own extents, addressing the whole tensors
};

Block block_at(const Grid& g, const Cut& c, int64_t index) {
  Block b{index / c.along_cols / c.along_rows * c.images, index / c.along_cols % c.along_rows * c.rows, index % c.along_cols * c.cols, g};
  b.grid.images = std::min(c.images, g.images - b.n);
  b.grid.rows = std::min(c.rows, g.rows - b.y);
  b.grid.cols = std::min(c.cols, g.cols - b.x);
  b.grid.x += b.n * g.x_image + b.y * g.x_row + b.x * g.x_pixel;
  b.grid.y += b.n * g.y_image + b.y * g.y_row + b.x * g.y_pixel;
  return b;
}

// Points the block's grid at a padded copy of its source, in this thread's scratch, with `pixel` floats per source pixel.
void pad(const Kernels& k, const TapConv& t, const Reach& r, int64_t pixel, Block& b) {
  Grid& g = b.grid;
  const int64_t rows = (g.rows - 1) * t.step_y + r.y1 - r.y0 + 1, cols = (t.ow - 1) * t.step_x + r.x1 - r.x0 + 1;
  float* strip = scratch(Slot::strip, g.images * rows * cols * pixel);
  for (int64_t i = 0; i < g.images; ++i) {
    const Image image{t.x + (b.n + i) * t.h * t.w * t.c, t.h, t.w, t.c, t.c};
    float* to = strip + i * rows * cols * pixel;
    if (t.affine.mean)
      copy_padded(image, b.y * t.step_y + r.y0, rows, r.x0, cols, pixel, to,
                  [&](const float* from, int64_t pixels, float* at) { k.affine(t.affine, from, pixels, t.c, at, pixel); });
    else
      copy_padded(image, b.y * t.step_y + r.y0, rows, r.x0, cols, pixel, to);
  }
  g.x = strip - (r.y0 * cols + r.x0) * pixel;
  g.x_image = rows * cols * pixel, g.x_row = t.step_y * cols * pixel, g.x_pixel = t.step_x * pixel;
}

// The weights of group * out + o and the outputs behind it.
Panel panel_at(const Kernels& k, const TapConv& t, int64_t depth, int64_t group, int64_t o) {
  const int64_t outputs = std::min(2 * k.lanes, t.out - o);
  if (!t.wide_panels) return {t.panels + group * panel_floats(k, depth, t.out) + o * depth, round_up(outputs, k.lanes), outputs};
  return {t.panels + (group * round_up(t.out, kPanel) + o / kPanel * kPanel) * depth + o % kPanel, kPanel, outputs};
}

// Pixels this many floats apart fall into the same set of a 32 KB, 8-way L1, which cannot hold the fourteen of a tile.
bool collides(int64_t step) { return step % 1024 == 0; }

}  // namespace

void run(const Kernels& k, const TapConv& t) {
  if (t.n == 0 || t.oh == 0 || t.ow == 0) return;
  const Reach r = reach(t.taps);
  const bool spread = collides(t.step_x * t.c), padded = spread || t.affine.mean || needs_padding(t, r);
  const int64_t pixel = t.c + (spread ? k.lanes : 0);
  const int64_t pitch = (padded ? (t.ow - 1) * t.step_x + r.x1 - r.x0 + 1 : t.w) * pixel;  // floats between source rows
  const int64_t merged = t.groups == 1 && !spread ? taps_per_run(t.taps) : 1, depth = static_cast<int64_t>(t.taps.size()) * t.in;
  std::vector<int64_t> runs;
  for (size_t i = 0; i < t.taps.size(); i += merged) runs.push_back(t.taps[i].y * pitch + t.taps[i].x * pixel);

  Grid grid{t.x, t.y, t.n, t.oh, t.ow, t.h * t.w * t.c, t.step_y * t.w * t.c, t.step_x * t.c, t.y_image, t.y_row, t.y_pixel};
  if (!padded) flatten(grid);
  const int64_t wide = 2 * k.lanes, group_panels = (t.out + wide - 1) / wide, panels = t.groups * group_panels;
  const int64_t tasks = kTasksPerThread * threads(), total = grid.images * grid.rows * grid.cols;
  const int64_t pixels = std::max(kMinPixels, std::min(kBlockFloats / (t.c * t.step_y * t.step_x), total / tasks));
  const Cut c = cut(grid, pixels, padded);
  const int64_t parts = std::clamp<int64_t>(chunk_count(tasks, c.count()), 1, panels);

  parallel_chunks(c.count() * parts, [&](int64_t task) {
    Block b = block_at(grid, c, task / parts);
    if (padded) pad(k, t, r, pixel, b);
    for (int64_t p = panels * (task % parts) / parts; p < panels * (task % parts + 1) / parts; ++p) {
      const int64_t group = p / group_panels, o = p % group_panels * wide;
      Grid g = b.grid;
      g.x += group * t.in, g.y += group * t.out + o;
      const Finish<float> finish = t.finish ? t.finish->from_channel(group * t.out + o) : Finish<float>{};
      run_panel(k, g, runs.data(), static_cast<int64_t>(runs.size()), merged * t.in, panel_at(k, t, depth, group, o), false,
                t.finish ? &finish : nullptr);
    }
  });
}

void run_panel(const Kernels& k, const Grid& g, const int64_t* runs, int64_t run_count, int64_t run_length, const Panel& panel, bool resume,
               const Finish<float>* finish) {
  const int64_t pieces = (g.cols + k.pixels - 1) / k.pixels, size = (g.cols + pieces - 1) / pieces;  // of a row: half tiles
  const auto& table = k.tile[panel.outputs > k.lanes];
  Tile full{{}, g.x_pixel, runs, run_count, run_length, panel.w, panel.step, {}, g.y_pixel, panel.outputs, resume, finish}, rest = full;
  bool full_waits = false, rest_waits = false;
  for (int64_t n = 0; n < g.images; ++n)
    for (int64_t row = 0; row < g.rows; ++row) {
      const float* x = g.x + n * g.x_image + row * g.x_row;
      float* y = g.y + n * g.y_image + row * g.y_row;
      for (int64_t col = 0; col < g.cols; col += size) {
        const int64_t count = std::min(size, g.cols - col);
        Tile& t = count == size ? full : rest;
        bool& waits = count == size ? full_waits : rest_waits;
        t.x[waits] = x + col * g.x_pixel;
        t.y[waits] = y + col * g.y_pixel;
        if (waits) table[1][count](t);
        waits = !waits;
      }
    }
  if (full_waits) table[0][size](full);
  if (rest_waits) table[0][g.cols % size](rest);
}

void pack_rows(const Kernels& k, const float* w, int64_t out_step, int64_t out, int64_t depth, float* panels) {
  const int64_t wide = 2 * k.lanes;
  for (int64_t o = 0; o < out; o += k.lanes) {
    const int64_t first = o / wide * wide, columns = out - first > k.lanes ? wide : k.lanes;
    k.transpose(w + o * out_step, out_step, std::min(k.lanes, out - o), depth, panels + first * depth + (o - first), columns);
  }
}

}  // namespace vitrine::cpu
