// One step of stochastic gradient descent on one parameter.
#pragma once
#include "engine/core/op.h"

namespace vitrine {

struct SgdAttrs : Attrs {
  double lr = 0.1, momentum = 0, weight_decay = 0, scale = 1;  // scale multiplies the gradient first (clipping)
  int64_t nesterov = 0, first = 0;                             // first: the velocity is not read, v = g
  void visit(AttrVisitor& v) override {
    v("lr", lr), v("momentum", momentum), v("weight_decay", weight_decay), v("scale", scale), v("nesterov", nesterov), v("first", first);
  }
};

// g = scale * g + weight_decay * w;  v' = momentum * v + g (g at the first step);  w' = w - lr * (nesterov ? g + momentum * v' : v')
// Each operation is rounded. Not differentiable.
struct SgdResult {
  Tensor w, v;
};
SgdResult sgd_step(const Tensor& w, const Tensor& g, const Tensor& v, const SgdAttrs&);

}  // namespace vitrine
