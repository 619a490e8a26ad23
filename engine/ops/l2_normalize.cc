// l2_normalize: rows of the last axis over max(|row|, eps); and linear, which is matmul and add.
#include "engine/ops/l2_normalize.h"

#include "engine/ops.h"
#include "engine/ops/shapes.h"
#include "engine/ops/ties.h"

namespace vitrine {
namespace {

template <size_t count>
Metas infer(const Metas& in, Attrs*) {
  check_float(in, count);
  CHECK(in[0].shape.rank() >= 1, "expected rows, got a scalar");
  for (const Meta& m : in) CHECK(m.shape == in[0].shape, "gradient ", m.shape, " of ", in[0].shape);
  return {in[0]};
}

AttrsPtr attrs(double eps) {
  auto a = std::make_shared<NormalizeAttrs>();
  a->eps = eps;
  return a;
}

const OpDef& grad_op = define<NormalizeAttrs>({.name = "l2_normalize_grad", .infer = infer<2>});
const OpDef& op = define<NormalizeAttrs>({
    .name = "l2_normalize",
    .infer = infer<1>,
    .backward = [](const Back& b) -> Tensors {
      return {apply1(grad_op, attrs(b.as<NormalizeAttrs>().eps), {b.in[0], b.grad[0]})};
    },
    .ties = tie_elementwise,
});

}  // namespace

Tensor l2_normalize(const Tensor& x, double eps) { return apply1(op, attrs(eps), {x}); }

Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias) {
  Tensor y = matmul(x, w, false, true);
  return bias ? add(y, bias) : y;
}

}  // namespace vitrine
