// What reads class labels: cross_entropy and margin. Softmax and negative log-likelihood are one operator, so that no probability is ever
// rounded to 0 before its logarithm.
#include "engine/ops/classify.h"

#include "engine/ops.h"
#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

// x [N,C] and labels; perhaps a gradient.
void check_rows(const Metas& in, size_t count) {
  CHECK(in.size() == count, "expected ", count, " inputs, got ", in.size());
  CHECK(in[0].shape.rank() == 2 && in[0].shape[1] > 0 && is_float(in[0].dtype), "expected [N,C], C > 0, of a floating-point dtype");
  CHECK(in[1].dtype == Dtype::i64 && in[1].shape == Shape({in[0].shape[0]}), "labels ", str(in[1]), ": expected i64[", in[0].shape[0], "]");
  CHECK(count < 3 || in[2].dtype == in[0].dtype, "expected a gradient of the same dtype");
}

Metas entropy_infer(const Metas& in, Attrs*) {
  check_rows(in, 2);
  return {Meta{{in[0].shape[0]}, in[0].dtype}};
}
Metas entropy_grad_infer(const Metas& in, Attrs*) {
  check_rows(in, 3);
  CHECK(in[2].shape == in[1].shape, "gradient ", in[2].shape, " of the rows of ", in[0].shape);
  return {in[0]};
}
Metas margin_infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<MarginAttrs&>(*attrs);
  check_rows(in, 2);
  CHECK(!a.falling || a.m1 == 1, "m1 = ", a.m1, ": expected 1 with falling");
  return {in[0]};
}

Metas margin_grad_infer(const Metas& in, Attrs*) {
  check_rows(in, 3);
  CHECK(in[2].shape == in[0].shape, "gradient ", in[2].shape, " of ", in[0].shape);
  return {in[0]};
}

const OpDef& entropy_grad_op = define({.name = "cross_entropy_grad", .infer = entropy_grad_infer});
const OpDef& entropy_op = define({
    .name = "cross_entropy",
    .infer = entropy_infer,
    .backward = [](const Back& b) -> Tensors {
      return {apply1(entropy_grad_op, {}, {b.in[0], b.in[1], b.grad[0]}), {}};
    },
});
const OpDef& margin_grad_op = define<MarginAttrs>({.name = "margin_grad", .infer = margin_grad_infer});
const OpDef& margin_op = define<MarginAttrs>({
    .name = "margin",
    .infer = margin_infer,
    .backward = [](const Back& b) -> Tensors {
      return {apply1(margin_grad_op, std::make_shared<MarginAttrs>(b.as<MarginAttrs>()), {b.in[0], b.in[1], b.grad[0]}), {}};
    },
});
const OpDef& straight_op = define<MarginAttrs>({
    .name = "margin_straight",
    .infer = margin_infer,
    .backward = [](const Back& b) -> Tensors {
      return {b.grad[0], {}};
    },
    .surrogate = Surrogate::identity_of_first,
    .saves_in = 0,
});

}  // namespace

Tensor cross_entropy(const Tensor& x, const Tensor& labels) { return apply1(entropy_op, {}, {x, labels}); }

Tensor margin(const Tensor& cosines, const Tensor& labels, const MarginAttrs& attrs, bool straight) {
  return apply1(straight ? straight_op : margin_op, std::make_shared<MarginAttrs>(attrs), {cosines, labels});
}

}  // namespace vitrine
