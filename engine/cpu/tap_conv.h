// The engine behind the dense forward, grad_x and matmul: a convolution without im2col as a register-tiled matrix product.
//
// Output pixel (n, oy, ox) reads source pixels (n, oy * step_y + tap.y, ox * step_x + tap.x), one per tap; outside of the image they are
// zeros. Its outputs o are chains over (tap, channel) ascending with the weights from panels:
//   panels [groups][ceil(out / 2L)][taps * in][2L outputs]    L floats per vector; a last panel of at most L outputs has L columns
//   or, packed once for every instruction set, [groups][ceil(out / 32)][taps * in][32 outputs]
#pragma once
#include <cstdint>
#include <vector>

#include "engine/cpu/kernels.h"

namespace vitrine::cpu {

struct Tap {
  int64_t y, x;
};

struct TapConv {
  const float* x;
  int64_t n, h, w, c;  // source [n][h][w][c]
  int64_t step_y, step_x;
  std::vector<Tap> taps = {};
  float* y;  // pixel (n, oy, ox) at y + n * y_image + oy * y_row + ox * y_pixel, group * out + o channels in
  int64_t oh, ow, y_image, y_row, y_pixel;
  int64_t groups, in, out;  // channels per group
  const float* panels = nullptr;
  bool wide_panels = false;  // of kPanel outputs
  Affine<float> affine = {};
  const Finish<float>* finish = nullptr;
};
void run(const Kernels&, const TapConv&);

// Pixels laid out with constant steps: what is left of a convolution once its source is padded.
struct Grid {
  const float* x;
  float* y;
  int64_t images, rows, cols;
  int64_t x_image, x_row, x_pixel, y_image, y_row, y_pixel;
};
// Weights of at most two vectors of outputs.
struct Panel {
  const float* w;
  int64_t step, outputs;
};
// All pixels of the grid times one panel.
void run_panel(const Kernels&, const Grid&, const int64_t* runs, int64_t run_count, int64_t run_length, const Panel&, bool resume,
               const Finish<float>* = nullptr);

inline int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }
inline int64_t panel_floats(const Kernels& k, int64_t depth, int64_t out) { return depth * round_up(out, k.lanes); }

// Weights whose `depth` inputs per output are contiguous, outputs out_step apart, transposed into panels.
void pack_rows(const Kernels&, const float* w, int64_t out_step, int64_t out, int64_t depth, float* panels);

}  // namespace vitrine::cpu
