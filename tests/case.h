// A case: one operator call on inputs worth trying. tests/cases_test.cc proves for each of them: gradient (f64), equal bits when repeated,
// with 1 and 4 threads and on every instruction set, agreement of f32 with f64 within a computed bound, and no byte written outside.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "engine/core/op.h"
#include "engine/core/rng.h"

namespace vitrine {

// Makes inputs of the dtype under test; the same numbers for f32 and f64 (f32 values are what f64 rounds from: exactly representable).
class Maker {
 public:
  Maker(Dtype dtype, uint64_t seed) : dtype_(dtype), rng_(seed) {}
  Tensor uniform(Shape, double low = -1, double high = 1);
  Tensor away_from_zero(Shape, double gap = 0.05);    // for kinks at 0: |x| >= gap
  Tensor distinct(Shape);                             // a permutation of evenly spaced values: no ties
  Tensor integers(Shape, int64_t low, int64_t high);  // float tensor of small integers: sums are exact
  Tensor indices(Shape, int64_t below);               // i64
  Tensor constant(Shape, double value);
  Dtype dtype() const { return dtype_; }

 private:
  Dtype dtype_;
  Philox rng_;
};

struct Case {
  std::string op, label;
  std::function<Tensors(Maker&)> inputs;
  std::function<Tensors(const Tensors&)> run;
  // Sum over the terms of |products|, times the length of the chain, bounds the f32 error: bound(i) = eps * terms * max|output of
  // run(|inputs|)|.
  int64_t terms = 16;
  bool differentiable = true;
  bool exact = false;  // data movement and integers: f32 must equal f64 rounded
};

std::vector<Case>& cases();
struct AddCase {
  explicit AddCase(Case c) { cases().push_back(std::move(c)); }
};

}  // namespace vitrine
