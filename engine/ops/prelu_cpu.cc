#include "engine/cpu/loops.h"
#include "engine/ops/channel_sums.h"

#include "engine/core/op.h"

namespace vitrine {
namespace {

VITRINE_CLONES void forward(const float* __restrict x, float* __restrict y, int64_t rows, int64_t c, const float* __restrict slope) {
  for (int64_t r = 0; r < rows; ++r, x += c, y += c)
    for (int64_t k = 0; k < c; ++k) {
      float negative = slope[k] * x[k];
      y[k] = x[k] > 0 ? x[k] : negative;
    }
}
void forward(const double* x, double* y, int64_t rows, int64_t c, const double* slope) {
  for (int64_t r = 0; r < rows; ++r, x += c, y += c)
    for (int64_t k = 0; k < c; ++k) y[k] = x[k] > 0 ? x[k] : slope[k] * x[k];
}

// dx = x > 0 ? g : slope * g; s[c] += sum over x <= 0 of g * x
VITRINE_CLONES void backward(const float* __restrict x, const float* __restrict g, float* __restrict dx, int64_t rows, int64_t c,
                             const float* __restrict slope, double* __restrict s) {
  for (int64_t r = 0; r < rows; ++r, x += c, g += c, dx += c)
    for (int64_t k = 0; k < c; ++k) {
      float scaled = slope[k] * g[k];
      float negative = x[k] > 0 ? 0.0f : x[k];  // selected in f32: a select across element sizes does not vectorise
      dx[k] = x[k] > 0 ? g[k] : scaled;
      s[k] += static_cast<double>(g[k]) * static_cast<double>(negative);
    }
}
void backward(const double* x, const double* g, double* dx, int64_t rows, int64_t c, const double* slope, double* s) {
  for (int64_t r = 0; r < rows; ++r, x += c, g += c, dx += c)
    for (int64_t k = 0; k < c; ++k) {
      dx[k] = x[k] > 0 ? g[k] : slope[k] * g[k];
      s[k] += x[k] > 0 ? 0.0 : g[k] * x[k];
    }
}

KernelFor forward_kernel("prelu", Device::cpu, [](const Call& call) {
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    int64_t c = call.in[0].shape().back();
    const T *x = call.in[0].data<T>(), *slope = call.in[1].data<T>();
    T* y = call.out[0].data<T>();
    parallel_for(call.in[0].shape().rows(), cpu::row_grain(c),
                 [&](int64_t begin, int64_t end) { forward(x + begin * c, y + begin * c, end - begin, c, slope); });
  });
});

KernelFor grad_kernel("prelu_grad", Device::cpu, [](const Call& call) {
  cpu::by_float(call.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    int64_t c = call.in[0].shape().back();
    const T *x = call.in[0].data<T>(), *slope = call.in[1].data<T>(), *g = call.in[2].data<T>();
    T *dx = call.out[0].data<T>(), *dslope = call.out[1].data<T>();
    auto sums = cpu::channel_sums(call.in[0].shape().rows(), c, 1, [&](int64_t begin, int64_t n, double* s) {
      backward(x + begin * c, g + begin * c, dx + begin * c, n, c, slope, s);
    });
    for (int64_t k = 0; k < c; ++k) dslope[k] = static_cast<T>(sums[k]);
  });
});

}  // namespace
}  // namespace vitrine
