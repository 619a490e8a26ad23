// Rows of tiles are cut into blocks whose transformed pixels and sums stay in L2; a block's 36 products are panels of the tap engine. Where
// blocks are few and do not divide equally among the threads, each is done by all of them, each with its own outputs; each then transforms
// the pixels itself, since fetching them from another core would take longer.
#include "engine/cpu/winograd.h"

#include <algorithm>

#include "engine/core/parallel.h"
#include "engine/cpu/pad.h"
#include "engine/cpu/scratch.h"
#include "engine/cpu/tap_conv.h"

namespace vitrine::cpu {
namespace {

constexpr int64_t kOut = 4, kPatch = 6, kPlanes = kWinogradPlanes;
constexpr int64_t kBlockFloats = 256 << 10;  // transformed pixels and sums of a block
constexpr int64_t kManyTiles = 28;           // of a block, even if they do not fit: fewer, and fetching the weights from L3 would show
constexpr int64_t kFewTiles = 14;            // of a block: fewer do not fill the register tiles
constexpr int64_t kTasksPerThread = 4;

// Rows of a matrix of `width` floats, spaced so that they do not fall into few sets of L1; planes likewise.
int64_t row_pitch(int64_t width) { return round_up(width, 16) + (width % 256 == 0 ? 16 : 0); }
int64_t plane_pitch(int64_t floats) { return floats % 32 ? floats : floats + 16; }

struct Block {
  int64_t row, rows;       // of tiles, counted through all images
  int64_t first, outputs;  // channels of y
};

// 36 matrices of a row per tile, counted row of tiles by row of tiles.
struct Planes {
  float* data;
  int64_t pitch, plane;  // floats between tiles, between matrices
};

class Winograd {
 public:
  Winograd(const Kernels& k, const FusedConv<float>& f)
      : k_(k), f_(f), s_(f.s), down_(chunk_count(s_.oh, kOut)), across_(chunk_count(s_.ow, kOut)) {}

  void run() const {
    const int64_t rows = s_.n * down_, panels = chunk_count(s_.o, kPanel), few = kTasksPerThread * threads();
    if (rows == 0) return;
    const int64_t fitting = std::max(kBlockFloats / (kPlanes * (s_.c + s_.o)), kManyTiles);
    int64_t blocks = chunk_count(rows, std::max<int64_t>(1, fitting / across_)), parts = 1;
    if (blocks < few) {
      const int64_t equal = equal_blocks(rows, blocks);
      equal ? blocks = equal : parts = std::min<int64_t>(panels, threads());
    }
    parallel_chunks(blocks * parts, [&](int64_t task) {
      const int64_t block = task / parts, part = task % parts, row = rows * block / blocks, first = panels * part / parts * kPanel;
      run({row, rows * (block + 1) / blocks - row, first, std::min(s_.o, panels * (part + 1) / parts * kPanel) - first});
    });
  }

 private:
  Planes planes(Slot slot, int64_t rows, int64_t width) const {
    const int64_t pitch = row_pitch(width), plane = plane_pitch(rows * across_ * pitch);
    return {scratch(slot, kPlanes * plane), pitch, plane};
  }

  // A number of blocks, at least `blocks`, all equal and equally many for each thread; 0 if there is none.
  int64_t equal_blocks(int64_t rows, int64_t blocks) const {
    while (blocks <= rows && (rows % blocks || blocks % threads())) ++blocks;
    return blocks <= rows && rows / blocks * across_ >= kFewTiles ? blocks : 0;
  }

  void run(const Block& b) const {
    const Planes v = planes(Slot::weights, b.rows, s_.c);
    for (int64_t r = 0; r < b.rows; ++r) transform_row(b.row + r, v, r);
    const Planes sums = planes(Slot::gradient, b.rows, b.outputs);
    const int64_t start = 0, wide = 2 * k_.lanes, panel_plane = round_up(s_.o, kPanel) * s_.c;
    for (int64_t p = 0; p < kPlanes; ++p)
      for (int64_t o = b.first; o < b.first + b.outputs; o += wide) {
        const Grid grid{
            v.data + p * v.plane, sums.data + p * sums.plane + o - b.first, 1, 1, b.rows * across_, 0, 0, v.pitch, 0, 0, sums.pitch};
        const float* w = f_.w + p * panel_plane + o / kPanel * kPanel * s_.c + o % kPanel;
        run_panel(k_, grid, &start, 1, s_.c, {w, kPanel, std::min(wide, b.first + b.outputs - o)}, false);
      }
    for (int64_t r = 0; r < b.rows; ++r) finish_row(b, b.row + r, sums, r);
  }

  // Row `row` of tiles: a padded copy of its six rows of pixels, then tile by tile.
  void transform_row(int64_t row, const Planes& v, int64_t to) const {
    const int64_t n = row / down_, y = row % down_ * kOut - s_.pad_h, cols = across_ * kOut + kPatch - kOut;
    float* strip = scratch(Slot::strip, kPatch * cols * s_.c);
    const Image image{f_.x + n * s_.h * s_.w * s_.c, s_.h, s_.w, s_.c, s_.c};
    if (f_.affine.mean)
      copy_padded(image, y, kPatch, -s_.pad_w, cols, s_.c, strip,
                  [&](const float* from, int64_t pixels, float* at) { k_.affine(f_.affine, from, pixels, s_.c, at, s_.c); });
    else
      copy_padded(image, y, kPatch, -s_.pad_w, cols, s_.c, strip);
    for (int64_t t = 0; t < across_; ++t)
      k_.winograd_input({strip + t * kOut * s_.c, cols * s_.c, s_.c, s_.c, v.data + (to * across_ + t) * v.pitch, v.plane});
  }

  // The sums' row `from` of tiles to y's row `row` of tiles.
  void finish_row(const Block& b, int64_t row, const Planes& sums, int64_t from) const {
    const int64_t n = row / down_, y = row % down_ * kOut;
    const Finish<float> finish = f_.finish.from_channel(b.first);
    for (int64_t t = 0; t < across_; ++t) {
      const int64_t x = t * kOut;
      k_.winograd_output({sums.data + (from * across_ + t) * sums.pitch, sums.plane, b.outputs,
                          f_.y + ((n * s_.oh + y) * s_.ow + x) * s_.o + b.first, s_.ow * s_.o, s_.o, std::min(kOut, s_.oh - y),
                          std::min(kOut, s_.ow - x), &finish});
    }
  }

  const Kernels& k_;
  const FusedConv<float>& f_;
  const ConvShape& s_;
  const int64_t down_, across_;  // tiles of an image
};

}  // namespace

void winograd(const Kernels& k, const FusedConv<float>& f) { Winograd(k, f).run(); }

}  // namespace vitrine::cpu
