// prelu: x > 0 ? x : slope[c] * x (He et al. 2015), and its gradient.
#include "engine/ops.h"
#include "engine/ops/shapes.h"
#include "engine/ops/ties.h"

namespace vitrine {
namespace {

Metas infer(const Metas& in, Attrs*) {
  check_float(in, 2);
  check_channels(in[0], in[1], "slope");
  return {in[0]};
}

Metas grad_infer(const Metas& in, Attrs*) {
  check_float(in, 3);  // x, slope, g
  check_channels(in[0], in[1], "slope");
  CHECK(in[0].shape == in[2].shape, "gradient ", in[2].shape, " of ", in[0].shape);
  return {in[0], in[1]};
}

const OpDef& grad_op = define({.name = "prelu_grad", .infer = grad_infer});
const OpDef& op = define({
    .name = "prelu",
    .infer = infer,
    .backward = [](const Back& b) -> Tensors {
      return apply(grad_op, {}, {b.in[0], b.in[1], b.grad[0]});
    },
    .ties = tie_elementwise,
});

}  // namespace

Tensor prelu(const Tensor& x, const Tensor& slope) { return apply1(op, {}, {x, slope}); }

}  // namespace vitrine
