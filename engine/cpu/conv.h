// Convolution on the cpu: forward and the two gradients, for every mix of strides, padding, dilation and groups.
//
//   x [n][h][w][c]    weights [o][kh][kw][c / groups]    y [n][oh][ow][o]    g like y
//   y[n,oy,ox,o] = sum over (ky,kx,i) of x[n, oy*stride_h - pad_h + ky*dilation_h, ox*stride_w - pad_w + kx*dilation_w, group(o) + i] *
//   w[o,ky,kx,i]
//
// THE ORDER LAW. f32 results have the same bits on plain x86-64, AVX2 and AVX-512 and for any number of threads, because every output
// element is computed in one stated order, each step one fused multiply-add:
//   forward  one chain from +0 over (ky, kx, i) ascending. A tap in the padding contributes fma(0, w, acc).
//   grad_x   per element of x one chain from +0 over the taps (ky, kx ascending) whose output position is a multiple of the stride, o of
//            the group ascending inside. A tap whose output lies outside of y contributes fma(0, w, acc).
//   grad_w   the pixels (n, oy, ox) are cut into blocks by grad_w_blocks(shape): several whole images, or some rows of one image. In each
//            block one chain from +0 over (n, oy, ox) ascending, padding contributing fma(g, 0, acc); then the block sums are added,
//            in ascending order, starting with the first: (s0 + s1) + s2 ...
#pragma once
#include <algorithm>
#include <cstdint>

namespace vitrine::cpu {

struct ConvShape {
  int64_t n, h, w, c;  // x
  int64_t o, kh, kw;   // weights
  int64_t oh, ow;      // y
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;

  int64_t group_in() const { return c / groups; }
  int64_t group_out() const { return o / groups; }
  int64_t x_numel() const { return n * h * w * c; }
  int64_t y_numel() const { return n * oh * ow * o; }
  int64_t w_numel() const { return o * kh * kw * group_in(); }
};

// How grad_w cuts its pixels: `images` whole images per block when they are small, else `rows` rows of y of one image.
// About 224 pixels: the operands of a block stay in L2 and a register tile of dW is loaded and stored once per block.
struct GradWBlocks {
  int64_t images, rows;         // per block
  int64_t across_images, down;  // number of blocks along n and along oy
  int64_t count() const { return across_images * down; }
};
inline GradWBlocks grad_w_blocks(const ConvShape& s) {
  constexpr int64_t kPixels = 224;
  int64_t images = std::max<int64_t>(1, kPixels / std::max<int64_t>(1, s.oh * s.ow));
  int64_t rows = images > 1 ? s.oh : std::clamp<int64_t>(kPixels / std::max<int64_t>(1, s.ow), 1, std::max<int64_t>(1, s.oh));
  return {images, rows, (s.n + images - 1) / images, (s.oh + rows - 1) / std::max<int64_t>(1, rows)};
}

void conv2d(const ConvShape&, const float* x, const float* w, float* y);
void conv2d(const ConvShape&, const double* x, const double* w, double* y);
void conv2d_grad_x(const ConvShape&, const float* g, const float* w, float* gx);
void conv2d_grad_x(const ConvShape&, const double* g, const double* w, double* gx);
void conv2d_grad_w(const ConvShape&, const float* x, const float* g, float* gw);
void conv2d_grad_w(const ConvShape&, const double* x, const double* g, double* gw);

}  // namespace vitrine::cpu
