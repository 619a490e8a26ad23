// The attributes of cast (ops.h), and what kernels do about bf16. One that knows a single float dtype runs on tensors some of which are
// bf16 by in_one_dtype: what it reads is widened (nothing is lost), what it writes rounded to nearest even behind it.
#pragma once
#include "engine/core/op.h"

namespace vitrine {

struct CastAttrs : Attrs {
  Dtype dtype = Dtype::f32;
  void visit(AttrVisitor& v) override { v("dtype", dtype); }
};

// to = from, each in its own dtype of f32, f64 and bf16, on the device of both; without history.
void convert(const Tensor& from, const Tensor& to);
Tensor converted(const Tensor&, Dtype);  // itself, if it has that dtype

// The kernel's dtype is that of the first input that is not bf16, or f32.
void in_one_dtype(const Call&, Kernel);

}  // namespace vitrine
