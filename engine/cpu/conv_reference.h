// The order law of conv.h and matmul.h as plain loops: what the fast kernels must equal bit for bit. Used for f64 and on plain x86-64.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "engine/core/parallel.h"
#include "engine/cpu/conv.h"

namespace vitrine::cpu::reference {

// The pixel (n, iy, ix) of a [n][h][w][c] tensor, or a row of zeros outside of the image.
template <class T>
struct Padded {
  const T* data;
  int64_t h, w, c;
  std::vector<T> zeros = std::vector<T>(c);
  const T* at(int64_t n, int64_t iy, int64_t ix) const {
    bool inside = iy >= 0 && iy < h && ix >= 0 && ix < w;
    return inside ? data + ((n * h + iy) * w + ix) * c : zeros.data();
  }
};

template <class T>
void conv2d(const ConvShape& s, const T* x, const T* w, T* y) {
  const int64_t ci = s.group_in(), co = s.group_out();
  const Padded<T> image{x, s.h, s.w, s.c};
  parallel_for(s.n * s.oh, 1, [&](int64_t row, int64_t) {
    int64_t n = row / s.oh, oy = row % s.oh;
    for (int64_t ox = 0; ox < s.ow; ++ox)
      for (int64_t o = 0; o < s.o; ++o) {
        T sum = 0;
        for (int64_t ky = 0; ky < s.kh; ++ky)
          for (int64_t kx = 0; kx < s.kw; ++kx) {
            const T* pixel = image.at(n, oy * s.stride_h - s.pad_h + ky * s.dilation_h, ox * s.stride_w - s.pad_w + kx * s.dilation_w);
            for (int64_t i = 0; i < ci; ++i) sum = std::fma(pixel[o / co * ci + i], w[((o * s.kh + ky) * s.kw + kx) * ci + i], sum);
          }
        y[(row * s.ow + ox) * s.o + o] = sum;
      }
  });
}

template <class T>
void conv2d_grad_x(const ConvShape& s, const T* g, const T* w, T* gx) {
  const int64_t ci = s.group_in(), co = s.group_out();
  const Padded<T> image{g, s.oh, s.ow, s.o};
  parallel_for(s.n * s.h, 1, [&](int64_t row, int64_t) {
    int64_t n = row / s.h, iy = row % s.h;
    for (int64_t ix = 0; ix < s.w; ++ix)
      for (int64_t c = 0; c < s.c; ++c) {
        T sum = 0;
        const int64_t first = c / ci * co;
        for (int64_t ky = 0; ky < s.kh; ++ky)
          for (int64_t kx = 0; kx < s.kw; ++kx) {
            int64_t ty = iy + s.pad_h - ky * s.dilation_h, tx = ix + s.pad_w - kx * s.dilation_w;
            if (ty % s.stride_h || tx % s.stride_w) continue;
            const T* pixel = image.at(n, ty / s.stride_h, tx / s.stride_w);
            for (int64_t o = first; o < first + co; ++o) sum = std::fma(pixel[o], w[((o * s.kh + ky) * s.kw + kx) * ci + c % ci], sum);
          }
        gx[(row * s.w + ix) * s.c + c] = sum;
      }
  });
}

template <class T>
void conv2d_grad_w(const ConvShape& s, const T* x, const T* g, T* gw) {
  const int64_t ci = s.group_in(), co = s.group_out();
  const GradWBlocks blocks = grad_w_blocks(s);
  const Padded<T> image{x, s.h, s.w, s.c};
  auto block_sum = [&](int64_t block, int64_t o, int64_t ky, int64_t kx, int64_t i) {
    int64_t n0 = block / blocks.down * blocks.images, y0 = block % blocks.down * blocks.rows;
    T sum = 0;
    for (int64_t n = n0; n < std::min(s.n, n0 + blocks.images); ++n)
      for (int64_t oy = y0; oy < std::min(s.oh, y0 + blocks.rows); ++oy)
        for (int64_t ox = 0; ox < s.ow; ++ox) {
          const T* pixel = image.at(n, oy * s.stride_h - s.pad_h + ky * s.dilation_h, ox * s.stride_w - s.pad_w + kx * s.dilation_w);
          sum = std::fma(g[((n * s.oh + oy) * s.ow + ox) * s.o + o], pixel[o / co * ci + i], sum);
        }
    return sum;
  };
  parallel_for(s.o, 1, [&](int64_t o, int64_t) {
    for (int64_t ky = 0; ky < s.kh; ++ky)
      for (int64_t kx = 0; kx < s.kw; ++kx)
        for (int64_t i = 0; i < ci; ++i) {
          T sum = blocks.count() ? block_sum(0, o, ky, kx, i) : T(0);
          for (int64_t block = 1; block < blocks.count(); ++block) sum += block_sum(block, o, ky, kx, i);
          gw[((o * s.kh + ky) * s.kw + kx) * ci + i] = sum;
        }
  });
}

template <class T>
void matmul(int64_t m, int64_t n, int64_t k, const T* a, bool ta, const T* b, bool tb, T* c) {
  parallel_for(m, 1, [&](int64_t row, int64_t) {
    for (int64_t col = 0; col < n; ++col) {
      T sum = 0;
      for (int64_t i = 0; i < k; ++i) sum = std::fma(ta ? a[i * m + row] : a[row * k + i], tb ? b[col * k + i] : b[i * n + col], sum);
      c[row * n + col] = sum;
    }
  });
}

}  // namespace vitrine::cpu::reference
