// Attributes of concat and slice, which is its inverse.
#pragma once
#include "engine/core/attrs.h"

namespace vitrine {

struct ConcatAttrs : Attrs {
  int64_t axis = 0;
  void visit(AttrVisitor& v) override { v("axis", axis); }
};

struct SliceAttrs : Attrs {
  int64_t axis = 0, begin = 0, end = 0;  // the indices [begin, end)
  void visit(AttrVisitor& v) override { v("axis", axis), v("begin", begin), v("end", end); }
};

}  // namespace vitrine
