// Winograd's F(4x4, 3x3): the fast path of conv_fused.h's winograd, and the gradient of its weights.
#pragma once
#include "engine/cpu/conv_fused.h"
#include "engine/cpu/kernels.h"

namespace vitrine::cpu {

void winograd(const Kernels&, const FusedConv<float>&);

// Gradient of the weights of a convolution that winograd could do (3x3, stride 1, no groups): with y = A^T [G w G^T . B^T x B] A,
//   dw = G^T [sum over tiles of (A g A^T) . (B^T x B)] G        g like y, zeros where it ends inside a tile
// THE ORDER LAW: the transforms of winograd.inc.h, rows first. The tiles, row by row through all images, are cut into blocks of
// grad_tile_rows(s) rows; per plane and pair of channels each block is one fma chain from +0 over its tiles ascending; the blocks' sums
// are added ascending. The last transform is in f64, columns of dw first, rounded once.
void winograd_grad_w(const ConvShape&, const float* x, const float* g, float* gw);
void winograd_grad_w(const ConvShape&, const double* x, const double* g, double* gw);

// About 224 tiles: their planes stay in the cache, and the sums are fetched once for as many.
inline int64_t grad_tile_rows(const ConvShape& s) { return std::max<int64_t>(1, 224 / std::max<int64_t>(1, (s.ow + 3) / 4)); }

// The rows of G: for a point p (1, p, p^2) / product of p - q over the other finite points q; infinity's is (0, 0, 1).
struct WinogradG {
  double at[6][3] = {};
  WinogradG();
};

}  // namespace vitrine::cpu
