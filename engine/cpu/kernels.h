// The interface between the drivers (conv.cc, matmul.cc, depthwise.cc) and the register kernels of one instruction set.
// The kernels see addresses and counts only; shapes, padding, blocking and threads are the drivers' business.
#pragma once
#include <cstdint>

#include "engine/cpu/finish.h"

namespace vitrine::cpu {

// A register tile of an implicit matrix product: outputs for pixels times vectors of output channels.
//   y[half][j][lane] = fma chain over runs r and k < run_length of x[half][j * x_step + runs[r] + k] * w[r][k][lane]
// The pixels come in one or two halves of equal size, so that a tile may span two rows of an image.
struct Tile {
  const float* x[2];
  int64_t x_step;       // floats between pixels
  const int64_t* runs;  // offsets, in floats, from a pixel to its contiguous runs of inputs
  int64_t run_count, run_length;
  const float* w;  // panel [run_count * run_length][vectors * lanes]
  int64_t w_step;  // floats between its rows
  float* y[2];
  int64_t y_step;
  int64_t outputs;              // lanes to store, at most vectors * lanes
  bool resume;                  // continue the chains stored in y instead of starting from +0
  const Finish<float>* finish;  // of these outputs, or null
};

// A register tile of a weight gradient, over a box of pixels:
//   dw[j][lane] (+)= fma chain over (image, row, pixel) of g[image][row][pixel][j] * x[image][row][pixel][lane]
struct GradTile {
  const float* x;                  // readable up to a whole number of vectors
  int64_t x_image, x_row, x_step;  // floats between images, rows, pixels
  const float* g;
  int64_t g_image, g_row, g_step;
  int64_t images, rows, pixels;
  float* dw;
  int64_t dw_step;           // floats between dw[j] and dw[j + 1]
  int64_t lanes;             // to store, at most vectors * lanes
  bool add;                  // add the chain to dw instead of storing it
  int64_t x_ahead, g_ahead;  // floats from what the tile reads to what it will read in the next block, which is asked for now
};

// A piece of a row of a depthwise convolution: y[pixel][c] = fma chain over taps of x[tap][pixel * x_step + c] * w[tap][c]
struct DepthwiseRow {
  const float* const* x;  // of the first pixel, one per tap
  const float* const* w;
  int64_t taps;
  int64_t x_step;
  float* y;
  int64_t y_step;
  int64_t pixels, channels;
  const Finish<float>* finish;  // null: the sums alone
};

// Pixels whose taps advance together, for the depthwise weight gradient.
struct Segment {
  const float* const* x;  // of the first pixel, one per tap
  const float* g;
  int64_t pixels;
};
// dw[tap][c] = fma chain over segments and their pixels of g[pixel * g_step + c] * x[tap][pixel * x_step + c]
struct DepthwiseGrad {
  const Segment* segments;
  int64_t count;
  int64_t first_tap, taps;  // taps < kMaxTaps
  int64_t x_step, g_step;
  float* dw;
  int64_t dw_step;
  int64_t first, channels;  // [first, first + channels) of x, g and dw
};

// One 6 x 6 patch of pixels to its 36 Winograd numbers per channel: v[plane][c].
template <class T>
struct WinogradInput {
  const T* x;
  int64_t x_row, x_pixel;
  int64_t channels;
  T* v;
  int64_t v_plane;
};
// Likewise a 4 x 4 patch of a gradient for y, on its way to the gradient of the weights.
template <class T>
using WinogradGradient = WinogradInput<T>;
// 36 numbers per channel m[plane][c] to at most 4 x 4 pixels of y, finished.
template <class T>
struct WinogradOutput {
  const T* m;
  int64_t m_plane;
  int64_t channels;
  T* y;
  int64_t y_row, y_pixel;
  int64_t rows, cols;  // to store
  const Finish<T>* finish;
};

constexpr int64_t kPanel = 32;  // outputs of a panel of weights that is packed once, for every instruction set
constexpr int kMaxTaps = 10;    // of a DepthwiseGrad, exclusive
constexpr int kMaxPixels = 8;   // of half a tile, exclusive
constexpr int kMaxGrad = 15;    // output channels of a GradTile, exclusive

struct Kernels {
  int64_t lanes;                                    // floats per vector
  int64_t pixels;                                   // of half a tile, at most
  int64_t grads;                                    // output channels of a GradTile, at most
  void (*tile[2][2][kMaxPixels])(const Tile&);      // [vectors - 1][halves - 1][pixels of a half]
  void (*grad_tile[2][kMaxGrad])(const GradTile&);  // [vectors - 1][output channels]
  void (*depthwise_row)(const DepthwiseRow&);
  void (*depthwise_grad[kMaxTaps])(const DepthwiseGrad&);  // [taps]
  // to[k][to_step] = from[rows][from_step] transposed; rows <= lanes, missing ones are zeros.
  void (*transpose)(const float* from, int64_t from_step, int64_t rows, int64_t k, float* to, int64_t to_step);
  void (*winograd_input)(const WinogradInput<float>&);
  void (*winograd_gradient)(const WinogradGradient<float>&);
  void (*winograd_output)(const WinogradOutput<float>&);
  void (*affine)(const Affine<float>&, const float* x, int64_t pixels, int64_t channels, float* to, int64_t to_step);
};

const Kernels& kernels();  // those of isa(), which is not plain
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();

}  // namespace vitrine::cpu
