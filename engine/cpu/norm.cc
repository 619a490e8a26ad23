// Each loop is written once; the f32 form is compiled for several instruction sets. Sums take several rows at a time, in their order, so
// that the f64 sums are loaded and stored once for several additions.
#include "engine/cpu/norm.h"

#include "engine/cpu/loops.h"

namespace vitrine::cpu {
namespace {

#define INLINE inline __attribute__((always_inline))

constexpr int kRows = 8;  // at a time, in moments; gradients need more registers each

template <class T>
INLINE T prelu(T u, T slope) {
  const T negative = slope * u;
  return u > 0 ? u : negative;
}

// Asks for the lines of the rows after next: sums leave the processor too little to do to run far enough ahead by itself.
template <int Rows, class T>
INLINE void prefetch_rows(const T* x, int64_t c) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < Rows * c; i += kLine) __builtin_prefetch(x + 2 * Rows * c + i);
}

enum class Then { nothing, prelu, add };

// `other`: slopes per channel, or what is added to each element.
template <Then then, class T>
INLINE void forward(const T* __restrict x, const T* __restrict other, T* __restrict y, int64_t rows, int64_t c, const T* __restrict mean,
                    const T* __restrict scale, const T* __restrict beta) {
  for (int64_t r = 0; r < rows; ++r, x += c, y += c) {
    for (int64_t k = 0; k < c; ++k) {
      const T u = (x[k] - mean[k]) * scale[k] + beta[k];
      y[k] = then == Then::prelu ? prelu(u, other[k]) : then == Then::add ? u + other[k] : u;
    }
    if (then == Then::add) other += c;
  }
}

template <bool extremes, int Rows, class T>
INLINE void add_moments(const T* __restrict x, int64_t c, double* __restrict s, double* __restrict q, T* __restrict lo, T* __restrict hi) {
  for (int64_t k = 0; k < c; ++k) {
    double sum = s[k], squares = q[k];
    for (int r = 0; r < Rows; ++r) {
      const double v = x[r * c + k];
      sum += v;
      squares += v * v;
    }
    s[k] = sum, q[k] = squares;
    if (!extremes) continue;
    T low = lo[k], high = hi[k];
    for (int r = 0; r < Rows; ++r) {
      low = x[r * c + k] < low ? x[r * c + k] : low;
      high = x[r * c + k] > high ? x[r * c + k] : high;
    }
    lo[k] = low, hi[k] = high;
  }
}

template <bool extremes, class T>
INLINE void all_moments(const T* x, int64_t rows, int64_t c, double* sums, T* lo, T* hi) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    prefetch_rows<kRows>(x + r * c, c);
    add_moments<extremes, kRows>(x + r * c, c, sums, sums + c, lo, hi);
  }
  for (; r < rows; ++r) add_moments<extremes, 1>(x + r * c, c, sums, sums + c, lo, hi);
}

template <bool with_prelu, int Rows, class T>
INLINE void add_gradient_moments(const T* __restrict g, const T* __restrict x, int64_t c, const T* __restrict mean,
                                 const T* __restrict rstd, const T* __restrict scale, const T* __restrict beta, const T* __restrict slope,
                                 double* __restrict s, double* __restrict q, double* __restrict t) {
  for (int64_t k = 0; k < c; ++k) {
    double sum = s[k], products = q[k], slopes = with_prelu ? t[k] : 0;
    for (int r = 0; r < Rows; ++r) {
      const T centred = x[r * c + k] - mean[k];
      T d = g[r * c + k];
      if (with_prelu) {
        const T u = centred * scale[k] + beta[k], scaled = slope[k] * d;
        const T negative = u > 0 ? T(0) : u;  // selected in T: a select across element sizes does not vectorise
        slopes += static_cast<double>(d) * static_cast<double>(negative);
        d = u > 0 ? d : scaled;
      }
      sum += static_cast<double>(d);
      products += static_cast<double>(d) * static_cast<double>(centred * rstd[k]);
    }
    s[k] = sum, q[k] = products;
    if (with_prelu) t[k] = slopes;
  }
}

template <bool with_prelu, class T>
INLINE void all_gradient_moments(const T* g, const T* x, int64_t rows, int64_t c, const Norm<T>& n, const T* slope, double* sums) {
  constexpr int kGradRows = with_prelu ? 2 : 4;
  int64_t r = 0;
  for (; r + kGradRows <= rows; r += kGradRows) {
    prefetch_rows<kGradRows>(x + r * c, c), prefetch_rows<kGradRows>(g + r * c, c);
    add_gradient_moments<with_prelu, kGradRows>(g + r * c, x + r * c, c, n.mean, n.rstd, n.scale, n.beta, slope, sums, sums + c,
                                                sums + 2 * c);
  }
  for (; r < rows; ++r)
    add_gradient_moments<with_prelu, 1>(g + r * c, x + r * c, c, n.mean, n.rstd, n.scale, n.beta, slope, sums, sums + c, sums + 2 * c);
}

template <bool with_prelu, class T>
INLINE void backward(const T* __restrict g, const T* __restrict x, T* __restrict dx, int64_t rows, int64_t c, const T* __restrict mean,
                     const T* __restrict rstd, const T* __restrict scale, const T* __restrict beta, const T* __restrict slope,
                     const T* __restrict mean_g, const T* __restrict mean_gx) {
  for (int64_t r = 0; r < rows; ++r, g += c, x += c, dx += c)
    for (int64_t k = 0; k < c; ++k) {
      const T centred = x[k] - mean[k];
      T d = g[k];
      if (with_prelu) {
        const T scaled = slope[k] * d;
        d = centred * scale[k] + beta[k] > 0 ? d : scaled;
      }
      dx[k] = scale[k] * (d - mean_g[k] - centred * rstd[k] * mean_gx[k]);
    }
}

}  // namespace

#define VITRINE_NORM_LOOPS(T, CLONES)                                                                                                   \
  CLONES void normalize(const T* x, T* y, int64_t rows, int64_t c, const Norm<T>& n) {                                                  \
    forward<Then::nothing, T>(x, nullptr, y, rows, c, n.mean, n.scale, n.beta);                                                         \
  }                                                                                                                                     \
  CLONES void normalize_prelu(const T* x, T* y, int64_t rows, int64_t c, const Norm<T>& n, const T* slope) {                            \
    forward<Then::prelu>(x, slope, y, rows, c, n.mean, n.scale, n.beta);                                                                \
  }                                                                                                                                     \
  CLONES void normalize_add(const T* x, const T* other, T* y, int64_t rows, int64_t c, const Norm<T>& n) {                              \
    forward<Then::add>(x, other, y, rows, c, n.mean, n.scale, n.beta);                                                                  \
  }                                                                                                                                     \
  CLONES void moments(const T* x, int64_t rows, int64_t c, double* sums) { all_moments<false, T>(x, rows, c, sums, nullptr, nullptr); } \
  CLONES void moments_and_extremes(const T* x, int64_t rows, int64_t c, double* sums, T* lo, T* hi) {                                   \
    all_moments<true>(x, rows, c, sums, lo, hi);                                                                                        \
  }                                                                                                                                     \
  CLONES void gradient_moments(const T* g, const T* x, int64_t rows, int64_t c, const Norm<T>& n, double* sums) {                       \
    all_gradient_moments<false, T>(g, x, rows, c, n, nullptr, sums);                                                                    \
  }                                                                                                                                     \
  CLONES void prelu_gradient_moments(const T* g, const T* x, int64_t rows, int64_t c, const Norm<T>& n, const T* slope, double* sums) { \
    all_gradient_moments<true>(g, x, rows, c, n, slope, sums);                                                                          \
  }                                                                                                                                     \
  CLONES void input_gradient(const T* g, const T* x, T* dx, int64_t rows, int64_t c, const Norm<T>& n, const GradMeans<T>& m) {         \
    backward<false, T>(g, x, dx, rows, c, n.mean, n.rstd, n.scale, nullptr, nullptr, m.g, m.gx);                                        \
  }                                                                                                                                     \
  CLONES void prelu_input_gradient(const T* g, const T* x, T* dx, int64_t rows, int64_t c, const Norm<T>& n, const T* slope,            \
                                   const GradMeans<T>& m) {                                                                             \
    backward<true>(g, x, dx, rows, c, n.mean, n.rstd, n.scale, n.beta, slope, m.g, m.gx);                                               \
  }
VITRINE_NORM_LOOPS(float, VITRINE_CLONES)
VITRINE_NORM_LOOPS(double, )

}  // namespace vitrine::cpu
