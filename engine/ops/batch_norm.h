// Attributes of batch_norm and batch_norm_train.
#pragma once
#include "engine/core/attrs.h"

namespace vitrine {

struct BatchNormAttrs : Attrs {
  double eps = 1e-5;
  void visit(AttrVisitor& v) override { v("eps", eps); }
};

struct BatchNormTrainAttrs : Attrs {
  double eps = 1e-5, momentum = 0.1;
  void visit(AttrVisitor& v) override { v("eps", eps), v("momentum", momentum); }
};

}  // namespace vitrine
