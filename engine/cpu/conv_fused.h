// Convolution with weights in panels (for inference packed once, in training by Winograd for each call), and what surrounds it in a network
// done where its numbers are at hand (finish.h).
//   y = finish(sum over (ky, kx, i) of affine(x) * w)        shapes as in conv.h
//
// THE ORDER LAW, the same bits on every instruction set and for any number of threads:
//   direct    the sums in conv.h's order
//   winograd  F(4x4, 3x3), stride 1. x and the sums pass through the transforms of winograd.inc.h, rows first, in the order and with the
//             fused multiply-adds written there; between them, in each of 36 planes, one fma chain from +0 over i ascending. An image whose
//             size is no multiple of 4 is continued with zeros.
// Error of winograd, by measurement 1.5 times that of direct (root mean square); docs/decisions.md, "Winograd".
#pragma once
#include "engine/cpu/conv.h"
#include "engine/cpu/kernels.h"

namespace vitrine::cpu {

template <class T>
struct FusedConv {
  ConvShape s;
  bool winograd;
  const T* x;
  Affine<T> affine;
  const T* w;  // depthwise: as in conv.h. Otherwise panels, zeros where o ends: direct [groups][ceil(o / groups / 32)][kh * kw * i][32],
               // winograd [36][ceil(o / 32)][i][32]
  Finish<T> finish;
  T* y;
};
void conv2d_fused(const FusedConv<float>&);
void conv2d_fused(const FusedConv<double>&);

// w as in conv.h to panels. Winograd's are computed in f64 and rounded once; mirrored, w is [C][3][3][O] and output o has for input i and
// tap (ky, kx) the weight w[i][2 - ky][2 - kx][o]: what conv2d's gradient for x multiplies with.
template <class T>
void pack_panels(const ConvShape&, const T* w, T* panels);
template <class T>
void pack_winograd(const ConvShape&, const T* w, T* panels, bool mirrored = false);

constexpr int64_t kWinogradPlanes = 36;

}  // namespace vitrine::cpu
