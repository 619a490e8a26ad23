// Attributes of batch_norm and batch_norm_train, whose x may be bf16 (cast.h), and the one scale per channel that the former multiplies by.
#pragma once
#include <cmath>

#include "engine/core/attrs.h"

namespace vitrine {

struct BatchNormAttrs : Attrs {
  double eps = 1e-5;
  void visit(AttrVisitor& v) override { v("eps", eps); }
};

struct BatchNormTrainAttrs : Attrs {
  double eps = 1e-5, momentum = 0.1;
  int64_t rounded = 0;  // y is bf16
  void visit(AttrVisitor& v) override { v("eps", eps), v("momentum", momentum), v("rounded", rounded); }
};

template <class T>
T batch_norm_scale(T gamma, T var, double eps) {
  return gamma * static_cast<T>(1.0 / std::sqrt(static_cast<double>(var) + eps));
}

}  // namespace vitrine
