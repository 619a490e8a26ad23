// The loops of batch normalization and of what is computed in one go with it, over rows [rows][c], per channel; T is float or double.
//   u = (x - mean) * scale + beta    each operation rounded; scale = gamma * rstd
//   xhat = (x - mean) * rstd
//   d = u > 0 ? g : slope * g        the gradient of prelu(u)
// The sums are chains in ascending order of the rows, one per channel, in f64 (products of two f32 are exact there).
#pragma once
#include <cstdint>

namespace vitrine::cpu {

template <class T>
struct Norm {
  const T *mean, *rstd, *scale, *beta;  // of each channel; a loop that does not need one of them does not read it
};
template <class T>
struct GradMeans {
  const T *g, *gx;  // of each channel: the means over the rows of g and g * xhat
};

//   normalize               y = u
//   normalize_prelu         y = prelu(u)
//   normalize_add           y = u + other
//   moments                 adds x and x * x to sums[2][c]
//   moments_and_extremes    and takes x into lo[c] and hi[c]; NaN is ignored
//   gradient_moments        adds g and g * xhat to sums[2][c]
//   prelu_gradient_moments  adds d, d * xhat, and g * u over u <= 0, to sums[3][c]
//   input_gradient          dx = scale * (g - mean(g) - xhat * mean(g * xhat))
//   prelu_input_gradient    the same with d for g
#define VITRINE_NORM_LOOPS(T)                                                                                                 \
  void normalize(const T* x, T* y, int64_t rows, int64_t c, const Norm<T>&);                                                  \
  void normalize_prelu(const T* x, T* y, int64_t rows, int64_t c, const Norm<T>&, const T* slope);                            \
  void normalize_add(const T* x, const T* other, T* y, int64_t rows, int64_t c, const Norm<T>&);                              \
  void moments(const T* x, int64_t rows, int64_t c, double* sums);                                                            \
  void moments_and_extremes(const T* x, int64_t rows, int64_t c, double* sums, T* lo, T* hi);                                 \
  void gradient_moments(const T* g, const T* x, int64_t rows, int64_t c, const Norm<T>&, double* sums);                       \
  void prelu_gradient_moments(const T* g, const T* x, int64_t rows, int64_t c, const Norm<T>&, const T* slope, double* sums); \
  void input_gradient(const T* g, const T* x, T* dx, int64_t rows, int64_t c, const Norm<T>&, const GradMeans<T>&);           \
  void prelu_input_gradient(const T* g, const T* x, T* dx, int64_t rows, int64_t c, const Norm<T>&, const T* slope, const GradMeans<T>&);
VITRINE_NORM_LOOPS(float)
VITRINE_NORM_LOOPS(double)
#undef VITRINE_NORM_LOOPS

}  // namespace vitrine::cpu
