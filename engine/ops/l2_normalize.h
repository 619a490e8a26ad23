// Attributes of l2_normalize.
#pragma once
#include "engine/core/attrs.h"

namespace vitrine {

struct NormalizeAttrs : Attrs {
  double eps = 1e-12;
  void visit(AttrVisitor& v) override { v("eps", eps); }
};

}  // namespace vitrine
