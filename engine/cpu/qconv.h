// Convolution and product on codes: u8 activations times s8 weights, exact i32 sums, and everything up to the next stored codes behind
// them. THE LAW is engine/cpu/qconv_reference.h; every instruction set and any number of threads give its bits.
//
//   x [n][h][w][c] u8 codes, real = (code - x_zero) / x_scale; a tap in the padding reads the code x_zero, so it adds nothing
//   weights [o][kh][kw][c / groups] s8 codes q with a zero per output, real = (q + zero[o]) / scale[o]; zero may lie outside of s8
//   acc[o] = sum over taps and inputs of (x - x_zero) * (q + zero[o])
//   v = fma(float(acc), mult[o], add[o])                                       float(): to nearest, half to even
//   v = v > 0 ? v : slope[o] * v                                               PReLU, if given
//   v = fma(float(residual - residual_zero), residual_inv_scale, v)            codes at the same place, if given
//   v = fma(v, post_mult[o], post_add[o])                                      if given
//   y = code(v, out_scale, out_zero, out_max), or v itself where y is float
//   second = code(fma(float(y - out_zero), second_mult[o], second_add[o]), second_scale, second_zero, second_max)   if given
//   code(v, scale, zero, max) = clamp(rint(fma(v, scale, float(zero))), 0, max), half to even, NaN to 0
// Scales of x, weights, BatchNorm and bias are in mult and add. A fully connected layer is a 1x1 convolution of n 1x1 images.
#pragma once
#include <cstdint>
#include <vector>

#include "engine/cpu/conv.h"
#include "engine/cpu/qepilogue.h"
#include "engine/cpu/qkernels.h"

namespace vitrine::cpu {

// The inputs of an output pixel as runs of contiguous bytes: the taps of a row are one run where they are neighbours.
struct QRuns {
  int64_t taps, bytes, count;  // taps and bytes of a run, number of runs
  explicit QRuns(const ConvShape& s)
      : taps(s.groups == 1 && s.dilation_w == 1 ? s.kw : 1), bytes(taps * s.group_in()), count(s.kh * s.kw / taps) {}
  int64_t length() const { return (bytes + 3) / 4; }  // in lines of weights
};

// The panels of a group: four blocks of 16 outputs each, then two or one.
struct QPanel {
  int64_t first, blocks;
  static int64_t count(int64_t blocks) { return blocks / 4 + blocks % 4 / 2 + blocks % 2; }
  QPanel(int64_t all, int64_t index) : first(4 * index), blocks(4) {
    if (first + 4 > all) blocks = first + 2 <= all ? 2 : 1;
    if (first >= all) first = all - 1;
  }
};

inline constexpr int32_t kQZeroLimit = 1 << 14;  // zeros of weights are smaller in magnitude

// For each output its zero where q + zero fits into s8 for all of its codes, else 0. bits: 2 to 8, codes lie in
// [-2^(bits-1), 2^(bits-1)). zero: o values or null (all 0), smaller than kQZeroLimit. Of the shape only what describes the weights is
// read. Throws Error where a code does not fit or a sum could leave i32 (255 * sum of |q + zero| >= 2^31).
std::vector<int32_t> foldable_zeros(const ConvShape&, int bits, const int8_t* codes, const int32_t* zero);

// Weights in the kernels' own layout, made once when a model is loaded.
class QWeights {
 public:
  QWeights() = default;
  // Arguments and errors are those of foldable_zeros().
  QWeights(const ConvShape&, int bits, const int8_t* codes, const int32_t* zero);

 private:
  friend class QConv;
  void pack_dense(const ConvShape&, const int8_t* codes);
  void pack_depthwise(const ConvShape&, const int8_t* codes);
  void pack_planes(int bits);
  // Dense: per group and panel [run][four inputs][block of 16 outputs]. Depthwise: [16 channels][pair of taps].
  std::vector<QLine> lines_;
  std::vector<int32_t> zero_;     // [o], what of the zeros is not in the lines' codes: nothing if these then fit
  std::vector<int32_t> tap_sum_;  // [tap][o] of the lines' codes
  bool window_ = false;           // some zero_ is not 0: sums of x over the window are needed
  int64_t planes_ = 0;            // lines per four lines of a large matrix of few bits, else 0: not packed
};

// x_zero: 0 to 255. y must not overlap x.
void qconv(const ConvShape&, const QWeights&, const uint8_t* x, int32_t x_zero, const QEpilogue&, uint8_t* y);
void qconv(const ConvShape&, const QWeights&, const uint8_t* x, int32_t x_zero, const QEpilogue&, float* y);

}  // namespace vitrine::cpu
