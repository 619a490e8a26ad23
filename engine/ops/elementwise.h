// The arithmetic of elementwise.def as functors, the same for every back end.
#pragma once
#include <cmath>

#include "engine/core/attrs.h"
#include "engine/core/host_device.h"

namespace vitrine {

struct ScalarAttrs : Attrs {
  double a = 0, b = 0;
  void visit(AttrVisitor& v) override { v("a", a), v("b", b); }
};

namespace ew {
// exp and log of f32 are taken in f64 and rounded once, so that every libm and device gives the same f32 for all but the rarest inputs.
VITRINE_HD inline float exp(float x) { return static_cast<float>(::exp(static_cast<double>(x))); }
VITRINE_HD inline double exp(double x) { return ::exp(x); }
VITRINE_HD inline float log(float x) { return static_cast<float>(::log(static_cast<double>(x))); }
VITRINE_HD inline double log(double x) { return ::log(x); }
VITRINE_HD inline float root(float x) { return ::sqrtf(x); }
VITRINE_HD inline double root(double x) { return ::sqrt(x); }

#define UNARY(id, F, DF)                                                                   \
  struct id##_f {                                                                          \
    template <class T>                                                                     \
    VITRINE_HD T operator()(T x, T, T) const {                                             \
      return F;                                                                            \
    }                                                                                      \
  };                                                                                       \
  struct id##_df {                                                                         \
    template <class T>                                                                     \
    VITRINE_HD T operator()([[maybe_unused]] T x, [[maybe_unused]] T y, T g, T, T) const { \
      return DF;                                                                           \
    }                                                                                      \
  };
#define UNARY_SCALARS(id, F, DF)                                                                                                 \
  struct id##_f {                                                                                                                \
    template <class T>                                                                                                           \
    VITRINE_HD T operator()(T x, [[maybe_unused]] T a, [[maybe_unused]] T b) const {                                             \
      return F;                                                                                                                  \
    }                                                                                                                            \
  };                                                                                                                             \
  struct id##_df {                                                                                                               \
    template <class T>                                                                                                           \
    VITRINE_HD T operator()([[maybe_unused]] T x, [[maybe_unused]] T y, T g, [[maybe_unused]] T a, [[maybe_unused]] T b) const { \
      return DF;                                                                                                                 \
    }                                                                                                                            \
  };
#define BINARY(id, F)                         \
  struct id##_f {                             \
    template <class T>                        \
    VITRINE_HD T operator()(T a, T b) const { \
      return F;                               \
    }                                         \
  };
#include "engine/ops/elementwise.def"
#undef UNARY
#undef UNARY_SCALARS
#undef BINARY
}  // namespace ew
}  // namespace vitrine
