// Attributes of dropout.
#pragma once
#include "engine/core/attrs.h"

namespace vitrine {

struct DropoutAttrs : Attrs {
  double p = 0.5;
  int64_t seed = 0, advance = 1;  // the mask is that of step + advance: 0 in backward, which is given the forward's own next_step
  void visit(AttrVisitor& v) override { v("p", p), v("seed", seed), v("advance", advance); }
};

}  // namespace vitrine
