// dropout: the mask is recomputed for the gradient and not kept. The step is a state of the graph, as running statistics are.
#include "engine/ops/dropout.h"

#include "engine/ops.h"
#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<DropoutAttrs&>(*attrs);
  CHECK(in.size() == 2 && is_float(in[0].dtype) && in[1].dtype == Dtype::i64 && in[1].shape.rank() == 0,
        "expected x of a floating-point dtype and step i64[]");
  CHECK(a.p >= 0 && a.p < 1, "p = ", a.p, ": expected 0 <= p < 1");
  return {in[0], in[1]};
}

const OpDef& op = define<DropoutAttrs>({
    .name = "dropout",
    .infer = infer,
    .backward = [](const Back& b) -> Tensors {
      auto a = std::make_shared<DropoutAttrs>(b.as<DropoutAttrs>());
      a->advance = 0;
      return {b.grad[0] ? apply(op_named("dropout"), a, {b.grad[0], b.out[1]})[0] : Tensor{}, {}};
    },
    .saves_in = 0,
    .saves_out = 2,
});

}  // namespace

Dropped dropout(const Tensor& x, const Tensor& step, double p, int64_t seed) {
  auto a = std::make_shared<DropoutAttrs>();
  a->p = p, a->seed = seed;
  auto out = apply(op, a, {x, step});
  return {out[0], out[1]};
}

}  // namespace vitrine
