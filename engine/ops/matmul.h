// Matrix product: C[M,N] = op(A)[M,K] * op(B)[K,N], where op transposes if asked. The order of summation: engine/cpu/matmul.h.
#pragma once
#include "engine/core/op.h"

namespace vitrine {

struct MatmulAttrs : Attrs {
  int64_t ta = 0, tb = 0;  // 1: A is stored [K,M], B is stored [N,K]
  void visit(AttrVisitor& v) override { v("ta", ta), v("tb", tb); }
};

Tensor matmul(const Tensor& a, const Tensor& b, bool ta = false, bool tb = false);

}  // namespace vitrine
