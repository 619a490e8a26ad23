// The interface between the driver of integer convolutions (qconv.cc) and the register kernels of one instruction set. The kernels see
// addresses and counts only; shapes, padding, blocking and threads are the driver's business.
#pragma once
#include <cstdint>

#include "engine/cpu/qepilogue.h"

namespace vitrine::cpu {

constexpr int64_t kQOutputs = 16;   // output channels that are computed side by side: a block
constexpr int64_t kQMaxBlocks = 4;  // of a panel
constexpr int64_t kQMaxPixels = 7;  // of a tile, exclusive

// Four inputs of sixteen outputs, [16][4] s8; or two taps of sixteen channels, [16][2] s16.
struct alignas(64) QLine {
  int8_t byte[64];
};

// What becomes of sums, for some pixels and the outputs from `first` on. Vectors of outputs are readable a panel beyond their end.
struct QFinish {
  const QEpilogue* e;
  const int32_t* start;        // [o] where the sums begin
  const int32_t* weight_zero;  // [o] times the window sum of the pixel is added, too, where window is given
  const int32_t* window;       // by place, or null
  const int32_t* place;        // of each pixel
  int64_t first, outputs;
  int64_t at, step;  // element of y of place 0, channel `first`; elements between places
  uint8_t* codes;    // y
  float* values;     // y where codes is null
};

struct QRun {
  int64_t x, w, length;  // offset of its first input and line; lines
};

// A register tile: pixels times one, two or four blocks of 16 outputs.
//   sum[pixel][o] = start[o] + sum over runs, k < length, j < 4 of x[pixel_offset[pixel] + run.x + 4 * k + j] * w[run.w + k][o][j]
struct QTile {
  const uint8_t* x;
  const int32_t* pixel;  // offsets
  const QRun* runs;
  int64_t run_count;
  const QLine* w;
  int64_t w_step;  // lines from one k to the next: blocks of the panel
  QFinish finish;
};

// sum[pixel][c] = start[c] + sum over pairs of x[pixel_offset[pixel] + taps[i] + c] * w[i / 2][c][i % 2], for 16 channels c from
// finish.first on, or 32 where there are more than 16; the second block's lines lie behind the first one's
struct QDepthwise {
  const uint8_t* x;
  const int32_t* pixel;
  int64_t pixels;
  const int64_t* taps;  // 2 * pairs offsets
  int64_t pairs;
  const QLine* w;
  QFinish finish;
};

// Weights of at most 6 bits in planes, as unsigned numbers: four lines follow from one to three.
//   2 bits  one line of pairs: number i of line j is bits 2j, 2j + 1 of byte i
//   4 bits  two lines of nibbles: number i of line j is the low or high (j odd) half of byte i of line j / 2
//   6 bits  two lines of nibbles, the low four bits, and one of pairs, the high two
constexpr int64_t kQPlanes = 3;
constexpr int64_t planes(int bits) { return bits <= 2 ? 1 : bits <= 4 ? 2 : 3; }

struct QKernels {
  int64_t blocks, pixels;                      // of a tile, at most
  void (*tile[3][kQMaxPixels])(const QTile&);  // [blocks / 2][pixels]
  void (*depthwise)(const QDepthwise&);
  // A tile of one pixel and one run whose weights are packed in planes, [planes - 1][blocks / 2], and the way back to lines, [planes - 1].
  void (*product[kQPlanes][3])(const QTile&);
  void (*unpack[kQPlanes])(const QLine* packed, int64_t lines, QLine* to);
  // sums[i] = sum of the `channels` bytes at x + i * step
  void (*channel_sums)(const uint8_t* x, int64_t step, int64_t count, int64_t channels, int32_t* sums);
};

const QKernels& qkernels();  // those of isa()
const QKernels& qkernels_plain();
const QKernels& qkernels_avx2();
const QKernels& qkernels_avx512();
const QKernels& qkernels_vnni();

}  // namespace vitrine::cpu
