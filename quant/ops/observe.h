// Ranges of activations: update rules on a buffer [2] = (lo, hi), given a batch x. All give the same bits for any number of threads: only
// extremes and integer counts are gathered in parallel. A range always contains 0; NaN in x is ignored. Not differentiable.
//   minmax      lo' = min(lo, min x), hi' = max(hi, max x)                                      (QuantFace)
//   ema         moves towards (min x, max x)
//   percentile  moves towards the percentiles 100 - keep and keep of x: exact order statistics
//   mse         moves towards the range, cut from (min x, max x), whose k-bit quantization of x has the least squared error
// "Moves": r' = r + (1 - momentum) (target - r). From (0, 0) it takes the target whole; a batch that is 0 or NaN throughout changes
// nothing.
#pragma once
#include "engine/core/op.h"

namespace vitrine::quant {

struct ObserveAttrs : Attrs {
  enum Rule : int64_t { minmax, ema, percentile, mse };
  int64_t rule = minmax, bits = 8;     // bits: of the quantizer that the range is for
  double momentum = 0.9, keep = 99.9;  // keep: percent, above 50
  void visit(AttrVisitor& v) override { v("rule", rule), v("bits", bits), v("momentum", momentum), v("keep", keep); }
};
int64_t observer_named(const std::string&);  // ObserveAttrs::Rule; Error lists the names

Tensor observe(const Tensor& x, const Tensor& range, const ObserveAttrs& = {});  // the new range

}  // namespace vitrine::quant
