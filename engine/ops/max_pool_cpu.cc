#include <algorithm>

#include "engine/cpu/loops.h"
#include "engine/ops/max_pool.h"

namespace vitrine {
namespace {

// The pixels [y0, y1) x [x0, x1) of the window at (oy, ox).
struct Window {
  int64_t y0, y1, x0, x1;
  Window(const PoolAttrs& a, const Shape& x, int64_t oy, int64_t ox)
      : y0(std::max<int64_t>(oy * a.stride_h - a.pad_h, 0)),
        y1(std::min(oy * a.stride_h - a.pad_h + a.kernel_h, x[1])),
        x0(std::max<int64_t>(ox * a.stride_w - a.pad_w, 0)),
        x1(std::min(ox * a.stride_w - a.pad_w + a.kernel_w, x[2])) {}
};

template <class T>
bool larger(T v, T best) {
  return v > best || v != v;
}

template <class T>
void forward(const Call& c) {
  auto& a = c.as<PoolAttrs>();
  const Shape &from = c.in[0].shape(), &to = c.out[0].shape();
  const int64_t channels = from[3];
  parallel_for(to[0] * to[1], 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* image = c.in[0].data<T>() + row / to[1] * from[1] * from[2] * channels;
      T* y = c.out[0].data<T>() + row * to[2] * channels;
      for (int64_t ox = 0; ox < to[2]; ++ox, y += channels) {
        const Window w(a, from, row % to[1], ox);
        std::copy_n(image + (w.y0 * from[2] + w.x0) * channels, channels, y);
        for (int64_t iy = w.y0; iy < w.y1; ++iy)
          for (int64_t ix = w.x0; ix < w.x1; ++ix) {
            const T* x = image + (iy * from[2] + ix) * channels;
            for (int64_t k = 0; k < channels; ++k) y[k] = larger(x[k], y[k]) ? x[k] : y[k];
          }
      }
    }
  });
}

// Images are independent; within one, windows follow each other, which is the order that overlapping ones add in.
template <class T>
void gradient(const Call& c) {
  auto& a = c.as<PoolAttrs>();
  const Shape &from = c.in[0].shape(), &to = c.in[1].shape();
  const int64_t channels = from[3], size = from[1] * from[2] * channels;
  parallel_for(from[0], 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const T *x = c.in[0].data<T>() + n * size, *g = c.in[1].data<T>() + n * to[1] * to[2] * channels;
      T* dx = c.out[0].data<T>() + n * size;
      std::fill_n(dx, size, T{0});
      for (int64_t oy = 0; oy < to[1]; ++oy)
        for (int64_t ox = 0; ox < to[2]; ++ox, g += channels) {
          const Window w(a, from, oy, ox);
          for (int64_t k = 0; k < channels; ++k) {
            int64_t best = (w.y0 * from[2] + w.x0) * channels + k;
            for (int64_t iy = w.y0; iy < w.y1; ++iy)
              for (int64_t ix = w.x0; ix < w.x1; ++ix)
                if (const int64_t at = (iy * from[2] + ix) * channels + k; larger(x[at], x[best])) best = at;
            dx[best] += g[k];
          }
        }
    }
  });
}

KernelFor forward_kernel("max_pool", Device::cpu,
                         [](const Call& c) { cpu::by_float(c.out[0].dtype(), [&](auto t) { forward<decltype(t)>(c); }); });
KernelFor grad_kernel("max_pool_grad", Device::cpu,
                      [](const Call& c) { cpu::by_float(c.out[0].dtype(), [&](auto t) { gradient<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
