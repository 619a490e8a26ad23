// Angular margins on the cosines of a classification head: cos [N,C], labels i64 [N]; only the element of a row's own class changes.
//   y = cos(m1 * theta + m2) - m3, theta = acos(clamp(cos, -1, 1))       ArcFace: m2; CosFace: m3; SphereFace: m1
//   falling: from m1 * theta + m2 >= pi on y = cos - m2 sin(m2) - m3, so that y falls on with theta (needs m1 = 1)
#pragma once
#include "engine/core/op.h"

namespace vitrine {

struct MarginAttrs : Attrs {
  double m1 = 1, m2 = 0, m3 = 0;
  int64_t falling = 0;
  void visit(AttrVisitor& v) override { v("m1", m1), v("m2", m2), v("m3", m3), v("falling", falling); }
};

// straight: the gradient passes as if there were no margin; otherwise it is the derivative (0 where |cos| >= 1).
Tensor margin(const Tensor& cosines, const Tensor& labels, const MarginAttrs&, bool straight);

}  // namespace vitrine
