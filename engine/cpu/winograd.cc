// Rows of tiles are cut into blocks whose transformed pixels stay in L2; a block's 36 products are panels of the tap engine. Where an image
// has too few tiles for all threads, several tasks share a block, each with its own outputs, and each transforms the pixels itself.
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
constexpr int64_t kMinTiles = 28;            // of a block, if there are so many: fewer, and fetching the weights would show
constexpr int64_t kTasksPerThread = 4;

// Rows of a matrix of `width` floats, spaced so that they do not fall into few sets of L1; planes likewise.
int64_t row_pitch(int64_t width) { return round_up(width, 16) + (width % 256 == 0 ? 16 : 0); }
int64_t plane_pitch(int64_t floats) { return floats % 32 ? floats : floats + 16; }

struct Block {
  int64_t row, rows;       // of tiles, counted through all images
  int64_t first, outputs;  // channels of y
};

class Winograd {
 public:
  Winograd(const Kernels& k, const FusedConv<float>& f)
      : k_(k), f_(f), s_(f.s), down_(chunk_count(s_.oh, kOut)), across_(chunk_count(s_.ow, kOut)) {}

  void run() const {
    const int64_t rows = s_.n * down_, panels = chunk_count(s_.o, kPanel), tasks = kTasksPerThread * threads();
    if (rows == 0) return;
    const int64_t fitting = std::max(kBlockFloats / (kPlanes * (s_.c + s_.o)), kMinTiles);
    const int64_t most = std::max<int64_t>(1, fitting / across_);
    const int64_t blocks = chunk_count(rows, std::min(most, std::max<int64_t>(chunk_count(rows, tasks), chunk_count(kMinTiles, across_))));
    const int64_t parts = std::clamp<int64_t>(chunk_count(tasks, blocks), 1, panels);
    parallel_chunks(blocks * parts, [&](int64_t task) {
      const int64_t block = task / parts, part = task % parts;
      const int64_t row = rows * block / blocks, first = panels * part / parts * kPanel;
      run({row, rows * (block + 1) / blocks - row, first, std::min(s_.o, panels * (part + 1) / parts * kPanel) - first});
    });
  }

 private:
  void run(const Block& b) const {
    const int64_t tiles = b.rows * across_, pitch = row_pitch(s_.c), plane = plane_pitch(tiles * pitch);
    const int64_t sum_pitch = row_pitch(b.outputs), sum_plane = plane_pitch(tiles * sum_pitch);
    float* v = scratch(Slot::weights, kPlanes * (plane + sum_plane));
    float* sums = v + kPlanes * plane;
    for (int64_t r = 0; r < b.rows; ++r) transform_row(b.row + r, v + r * across_ * pitch, pitch, plane);
    const int64_t start = 0, wide = 2 * k_.lanes, panel_plane = round_up(s_.o, kPanel) * s_.c;
    for (int64_t p = 0; p < kPlanes; ++p)
      for (int64_t o = b.first; o < b.first + b.outputs; o += wide) {
        const Grid grid{v + p * plane, sums + p * sum_plane + o - b.first, 1, 1, tiles, 0, 0, pitch, 0, 0, sum_pitch};
        const float* w = f_.w + p * panel_plane + o / kPanel * kPanel * s_.c + o % kPanel;
        run_panel(k_, grid, &start, 1, s_.c, {w, kPanel, std::min(wide, b.first + b.outputs - o)}, false);
      }
    for (int64_t r = 0; r < b.rows; ++r) finish_row(b, b.row + r, sums + r * across_ * sum_pitch, sum_pitch, sum_plane);
  }

  // Row `row` of tiles: a padded copy of its six rows of pixels, then tile by tile.
  void transform_row(int64_t row, float* v, int64_t pitch, int64_t plane) const {
    const int64_t n = row / down_, y = row % down_ * kOut - s_.pad_h, cols = across_ * kOut + kPatch - kOut;
    float* strip = scratch(Slot::strip, kPatch * cols * s_.c);
    const Image image{f_.x + n * s_.h * s_.w * s_.c, s_.h, s_.w, s_.c, s_.c};
    if (f_.affine.mean)
      copy_padded(image, y, kPatch, -s_.pad_w, cols, s_.c, strip,
                  [&](const float* from, int64_t pixels, float* at) { k_.affine(f_.affine, from, pixels, s_.c, at, s_.c); });
    else
      copy_padded(image, y, kPatch, -s_.pad_w, cols, s_.c, strip);
    for (int64_t t = 0; t < across_; ++t) k_.winograd_input({strip + t * kOut * s_.c, cols * s_.c, s_.c, s_.c, v + t * pitch, plane});
  }

  void finish_row(const Block& b, int64_t row, const float* sums, int64_t pitch, int64_t plane) const {
    const int64_t n = row / down_, y = row % down_ * kOut;
    const Finish<float> finish = f_.finish.from_channel(b.first);
    for (int64_t t = 0; t < across_; ++t) {
      const int64_t x = t * kOut;
      k_.winograd_output({sums + t * pitch, plane, b.outputs, f_.y + ((n * s_.oh + y) * s_.ow + x) * s_.o + b.first, s_.ow * s_.o, s_.o,
                          std::min(kOut, s_.oh - y), std::min(kOut, s_.ow - x), &finish});
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
