// Training's batch normalization on the cpu, for the operators that compute something else in the same go.
#pragma once
#include <vector>

#include "engine/core/op.h"
#include "engine/cpu/norm.h"

namespace vitrine::cpu {

template <class T>
struct Extremes {
  std::vector<T> lo, hi;  // of each channel; NaN is ignored
};

// What a kernel with the inputs x, gamma, beta, running_mean, running_var, ... and the outputs y, mean, rstd, running_mean, running_var,
// ... has in common: fills outputs 1 to 4. `scale` is storage of the result. `extremes`: those of x, if wanted.
template <class T>
Norm<T> batch_statistics(const Call&, double eps, double momentum, std::vector<T>* scale, Extremes<T>* extremes = nullptr);

// dx, dgamma, dbeta (and dslope) of batch_norm_train(x), or, where there is a slope, of prelu(batch_norm_train(x)); g like x.
template <class T>
struct NormGradient {
  const T *g, *x, *gamma, *mean, *rstd;
  T *dx, *dgamma, *dbeta;
  const T *beta = nullptr, *slope = nullptr;
  T* dslope = nullptr;
};
template <class T>
void norm_gradient(const NormGradient<T>&, int64_t rows, int64_t c);

}  // namespace vitrine::cpu
