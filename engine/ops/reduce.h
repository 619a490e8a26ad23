// Attributes of the reductions and of the operators that move data.
#pragma once
#include "engine/core/attrs.h"

namespace vitrine {

// Reduces the axes [first, first + count) of the input.
struct ReduceAttrs : Attrs {
  int64_t first = 0, count = 0, keep = 0;
  void visit(AttrVisitor& v) override { v("first", first), v("count", count), v("keep", keep); }
};

struct ShapeAttrs : Attrs {  // of reshape, expand and transpose
  Shape shape;
  void visit(AttrVisitor& v) override { v("shape", shape); }
};

struct RowsAttrs : Attrs {  // of scatter_add
  int64_t rows = 0;
  void visit(AttrVisitor& v) override { v("rows", rows); }
};

struct SortAttrs : Attrs {
  int64_t descending = 0;
  void visit(AttrVisitor& v) override { v("descending", descending); }
};

}  // namespace vitrine
