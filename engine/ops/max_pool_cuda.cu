// max_pool: one element of the result, one thread. Its gradient is gathered: an element of x looks at the windows that hold it, in their
// order, which is that of max_pool_cpu.cc.
#include "engine/cuda/launch.cuh"
#include "engine/ops/max_pool.h"

namespace vitrine {
namespace {

using cuda::each, cuda::ptr;

struct Geometry {
  int64_t kh, kw, sh, sw, ph, pw, h, w, oh, ow, c;
  Geometry(const PoolAttrs& a, const Shape& x, const Shape& y)
      : kh(a.kernel_h),
        kw(a.kernel_w),
        sh(a.stride_h),
        sw(a.stride_w),
        ph(a.pad_h),
        pw(a.pad_w),
        h(x[1]),
        w(x[2]),
        oh(y[1]),
        ow(y[2]),
        c(x[3]) {}
};

__device__ int64_t at_least_0(int64_t v) { return v > 0 ? v : 0; }

// Offset within the image of the first of the largest values of channel k in the window at (oy, ox).
template <class T>
__device__ int64_t largest(const Geometry& g, const T* image, int64_t oy, int64_t ox, int64_t k) {
  int64_t best = -1;
  for (int64_t iy = at_least_0(oy * g.sh - g.ph); iy < g.h && iy < oy * g.sh - g.ph + g.kh; ++iy)
    for (int64_t ix = at_least_0(ox * g.sw - g.pw); ix < g.w && ix < ox * g.sw - g.pw + g.kw; ++ix) {
      const int64_t at = (iy * g.w + ix) * g.c + k;
      if (best < 0 || image[at] > image[best] || image[at] != image[at]) best = at;
    }
  return best;
}

template <class T>
void forward(const Call& call) {
  const Geometry g(call.as<PoolAttrs>(), call.in[0].shape(), call.out[0].shape());
  const T* x = ptr<T>(call.in[0]);
  T* y = ptr<T>(call.out[0]);
  each(call.out[0].numel(), [=] __device__(int64_t i) {
    const int64_t k = i % g.c, ox = i / g.c % g.ow, oy = i / (g.c * g.ow) % g.oh;
    const T* image = x + i / (g.c * g.ow * g.oh) * g.h * g.w * g.c;
    y[i] = image[largest(g, image, oy, ox, k)];
  });
}

template <class T>
void gradient(const Call& call) {
  const Geometry g(call.as<PoolAttrs>(), call.in[0].shape(), call.in[1].shape());
  const T *x = ptr<T>(call.in[0]), *dy = ptr<T>(call.in[1]);
  T* dx = ptr<T>(call.out[0]);
  each(call.out[0].numel(), [=] __device__(int64_t i) {
    const int64_t size = g.h * g.w * g.c, n = i / size, here = i % size, k = i % g.c, ix = i / g.c % g.w, iy = i / (g.c * g.w) % g.h;
    const int64_t top = at_least_0(iy + g.ph - g.kh + g.sh) / g.sh, left = at_least_0(ix + g.pw - g.kw + g.sw) / g.sw;
    T sum = 0;
    for (int64_t oy = top; oy < g.oh && oy * g.sh - g.ph <= iy; ++oy)
      for (int64_t ox = left; ox < g.ow && ox * g.sw - g.pw <= ix; ++ox)
        if (largest(g, x + n * size, oy, ox, k) == here) sum += dy[((n * g.oh + oy) * g.ow + ox) * g.c + k];
    dx[i] = sum;
  });
}

KernelFor forward_kernel("max_pool", Device::cuda,
                         [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { forward<decltype(t)>(c); }); });
KernelFor grad_kernel("max_pool_grad", Device::cuda,
                      [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { gradient<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
