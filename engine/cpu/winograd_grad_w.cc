// Block by block: both transforms of its tiles, then 36 products, which add to 36 matrices [o][c]; at the end those become dw.
#include <cmath>
#include <cstring>

#include "engine/core/parallel.h"
#include "engine/cpu/conv_fused_reference.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/pad.h"
#include "engine/cpu/scratch.h"
#include "engine/cpu/tap_conv.h"
#include "engine/cpu/winograd.h"

namespace vitrine::cpu {
namespace {

// 36 matrices, a row for each tile.
template <class T>
struct Planes {
  T* data;
  int64_t pitch, plane;  // numbers between rows, between matrices
  Planes(Slot slot, int64_t rows, int64_t width) : pitch(round_up(width, 16) + (width % 256 == 0 ? 16 : 0)), plane(rows * pitch + 16) {
    data = static_cast<T*>(scratch_bytes(slot, (kPlanes * plane + 16) * sizeof(T)));  // vectors may read beyond the last row
  }
};

// dw[o][c] (+)= chain over tiles of z[tile][o] * v[tile][c]
template <class T>
struct Product {
  const T *z, *v;
  int64_t z_pitch, v_pitch, tiles, outputs, channels;
  T* dw;
  int64_t dw_pitch;
  bool add;
};

template <class T>
struct Plain {
  static constexpr int64_t columns = 32;  // of a product
  static void input(const WinogradInput<T>& t) { winograd_input<reference::Scalar<T>>(t); }
  static void gradient(const WinogradGradient<T>& t) { winograd_gradient<reference::Scalar<T>>(t); }
  static void multiply(const Product<T>& p) {
    for (int64_t o = 0; o < p.outputs; ++o)
      for (int64_t c = 0; c < p.channels; ++c) {
        T sum = 0, &to = p.dw[o * p.dw_pitch + c];
        for (int64_t t = 0; t < p.tiles; ++t) sum = std::fma(p.z[t * p.z_pitch + o], p.v[t * p.v_pitch + c], sum);
        to = p.add ? to + sum : sum;
      }
  }
};

struct Fast {
  const Kernels& k = kernels();
  const int64_t columns = 2 * k.lanes;
  void input(const WinogradInput<float>& t) const { k.winograd_input(t); }
  void gradient(const WinogradGradient<float>& t) const { k.winograd_gradient(t); }
  void multiply(const Product<float>& p) const {
    const int64_t parts = chunk_count(p.outputs, k.grads), size = chunk_count(p.outputs, parts);
    GradTile t{};
    t.x = p.v, t.x_step = p.v_pitch, t.g_step = p.z_pitch, t.images = t.rows = 1, t.pixels = p.tiles;
    t.dw_step = p.dw_pitch, t.lanes = p.channels, t.add = p.add;
    for (int64_t o = 0; o < p.outputs; o += size) {
      t.g = p.z + o, t.dw = p.dw + o * p.dw_pitch;
      k.grad_tile[p.channels > k.lanes][std::min(size, p.outputs - o)](t);
    }
  }
};

template <class T, class Math>
class GradW {
 public:
  GradW(const Math& math, const ConvShape& s, const T* x, const T* g)
      : math_(math), s_(s), x_(x), g_(g), down_(chunk_count(s.oh, kOut)), across_(chunk_count(s.ow, kOut)) {}

  void run(T* gw) const {
    const int64_t rows = s_.n * down_, step = grad_tile_rows(s_), most = std::min(step, rows) * across_, size = s_.o * s_.c;
    const Planes<T> v(Slot::weights, most, s_.c), z(Slot::gradient, most, s_.o);
    T* sums = static_cast<T*>(scratch_bytes(Slot::panel, kPlanes * size * sizeof(T)));
    if (rows == 0) std::memset(sums, 0, kPlanes * size * sizeof(T));
    const int64_t panels = chunk_count(s_.c, math_.columns);
    for (int64_t row = 0; row < rows; row += step) {
      const int64_t count = std::min(step, rows - row);
      parallel_for(2 * count, 1,
                   [&](int64_t r, int64_t) { r < count ? transform(row + r, v, r) : transform_gradient(row + r - count, z, r - count); });
      parallel_for(kPlanes * panels, 1, [&](int64_t task, int64_t) {
        const int64_t p = task / panels, c = task % panels * math_.columns;
        math_.multiply(Product<T>{z.data + p * z.plane, v.data + p * v.plane + c, z.pitch, v.pitch, count * across_, s_.o,
                                  std::min<int64_t>(math_.columns, s_.c - c), sums + p * size + c, s_.c, row > 0});
      });
    }
    parallel_for(s_.o, 1, [&](int64_t o, int64_t) { finish(sums + o * s_.c, size, gw + o * 9 * s_.c); });
  }

 private:
  // A row of tiles: a padded copy of its rows of pixels, then tile by tile.
  void transform(int64_t row, const Planes<T>& v, int64_t to) const {
    const int64_t cols = across_ * kOut + kPatch - kOut;
    T* strip = static_cast<T*>(scratch_bytes(Slot::strip, kPatch * cols * s_.c * sizeof(T)));
    copy_padded(ImageOf<T>{x_ + row / down_ * s_.h * s_.w * s_.c, s_.h, s_.w, s_.c, s_.c}, row % down_ * kOut - s_.pad_h, kPatch, -s_.pad_w,
                cols, s_.c, strip);
    for (int64_t t = 0; t < across_; ++t)
      math_.input(WinogradInput<T>{strip + t * kOut * s_.c, cols * s_.c, s_.c, s_.c, v.data + (to * across_ + t) * v.pitch, v.plane});
  }
  void transform_gradient(int64_t row, const Planes<T>& z, int64_t to) const {
    const int64_t cols = across_ * kOut;
    T* strip = static_cast<T*>(scratch_bytes(Slot::strip, kOut * cols * s_.o * sizeof(T)));
    copy_padded(ImageOf<T>{g_ + row / down_ * s_.oh * s_.ow * s_.o, s_.oh, s_.ow, s_.o, s_.o}, row % down_ * kOut, kOut, 0, cols, s_.o,
                strip);
    for (int64_t t = 0; t < across_; ++t)
      math_.gradient(WinogradGradient<T>{strip + t * kOut * s_.o, cols * s_.o, s_.o, s_.o, z.data + (to * across_ + t) * z.pitch, z.plane});
  }

  // dw = G^T m G for one output.
  void finish(const T* m, int64_t plane, T* dw) const {
    constexpr int64_t kBlock = 32;
    for (int64_t first = 0; first < s_.c; first += kBlock) {
      const int64_t count = std::min(kBlock, s_.c - first);
      double half[3][kPatch][kBlock] = {};
      for (int p = 0; p < kPlanes; ++p)
        for (int k = 0; k < 3; ++k)
          for (int64_t c = 0; c < count; ++c)
            half[k][p % kPatch][c] += transform_.at[p / kPatch][k] * static_cast<double>(m[p * plane + first + c]);
      for (int tap = 0; tap < 9; ++tap) {
        double sum[kBlock] = {};
        for (int p = 0; p < kPatch; ++p)
          for (int64_t c = 0; c < count; ++c) sum[c] += transform_.at[p][tap % 3] * half[tap / 3][p][c];
        for (int64_t c = 0; c < count; ++c) dw[tap * s_.c + first + c] = static_cast<T>(sum[c]);
      }
    }
  }

  const Math& math_;
  const ConvShape& s_;
  const T *x_, *g_;
  const int64_t down_, across_;  // tiles of an image
  const WinogradG transform_;
};

}  // namespace

void winograd_grad_w(const ConvShape& s, const double* x, const double* g, double* gw) {
  GradW<double, Plain<double>>(Plain<double>(), s, x, g).run(gw);
}
void winograd_grad_w(const ConvShape& s, const float* x, const float* g, float* gw) {
  if (isa() == Isa::plain) return GradW<float, Plain<float>>(Plain<float>(), s, x, g).run(gw);
  GradW<float, Fast>(Fast(), s, x, g).run(gw);
}

}  // namespace vitrine::cpu
