// The loops of batch normalization and of what is computed in one go with it, over rows [rows][c], per channel; T is float or double.
//   u = (x - mean) * scale + beta       each operation rounded; scale = gamma * rstd
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
  const T *g, *gx;  // of each channel: the means of g and of g * xhat over the rows
};

#define VITRINE_NORM_LOOPS(T)                                                                                                 \
  void normalize(const T* x, T* y, int64_t rows, int64_t c, const Norm<T>&);                       /* y = u              */   \
  void normalize_prelu(const T* x, T* y, int64_t rows, int64_t c, const Norm<T>&, const T* slope); /* y = prelu(u)       */   \
  void normalize_add(const T* x, const T* other, T* y, int64_t rows, int64_t c, const Norm<T>&);   /* y = u + other      */   \
  void moments(const T* x, int64_t rows, int64_t c, double* sums);                                 /* [2][c]: x, x * x   */   \
  /* [2][c]: g, g * xhat, with xhat = (x - mean) * rstd */                                                                    \
  void gradient_moments(const T* g, const T* x, int64_t rows, int64_t c, const Norm<T>&, double* sums);                       \
  /* [3][c]: d, d * xhat, and g * u over u <= 0, with d = u > 0 ? g : slope * g */                                            \
  void prelu_gradient_moments(const T* g, const T* x, int64_t rows, int64_t c, const Norm<T>&, const T* slope, double* sums); \
  /* dx = scale * (g - mean(g) - xhat * mean(g * xhat)) */                                                                    \
  void input_gradient(const T* g, const T* x, T* dx, int64_t rows, int64_t c, const Norm<T>&, const GradMeans<T>&);           \
  void prelu_input_gradient(const T* g, const T* x, T* dx, int64_t rows, int64_t c, const Norm<T>&, const T* slope,           \
                            const GradMeans<T>&); /* the same with d for g */
VITRINE_NORM_LOOPS(float)
VITRINE_NORM_LOOPS(double)
#undef VITRINE_NORM_LOOPS

}  // namespace vitrine::cpu
