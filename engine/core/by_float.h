// by_float: from a dtype at run time to its C++ type.
#pragma once
#include "engine/core/dtype.h"
#include "engine/core/error.h"

namespace vitrine {

// body(T{}) with T the C++ type of a floating-point dtype.
template <class Body>
void by_float(Dtype d, Body&& body) {
  if (d == Dtype::f32)
    body(float{});
  else if (d == Dtype::f64)
    body(double{});
  else
    throw Error(cat("expected f32 or f64, got ", info(d).name));
}

}  // namespace vitrine
