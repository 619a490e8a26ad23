// From a dtype at run time to its C++ type.
#pragma once
#include "engine/core/bf16.h"
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

// The same for any of f32, f64 and bf16.
template <class Body>
void by_real(Dtype d, Body&& body) {
  if (d == Dtype::bf16)
    body(Bf16{});
  else
    by_float(d, body);
}

// body(T{}) or body(Bf16{}): for what is computed in T and stored in either.
template <class T, class Body>
void by_stored(Dtype d, Body&& body) {
  if (d == Dtype::bf16)
    body(Bf16{});
  else
    body(T{});
}

}  // namespace vitrine
