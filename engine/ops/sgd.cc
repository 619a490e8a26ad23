#include "engine/ops/sgd.h"

#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

Metas infer(const Metas& in, Attrs*) {
  check_float(in, 3);
  for (const Meta& m : in) CHECK(m.shape == in[0].shape, "parameter ", in[0].shape, ", gradient or velocity ", m.shape);
  return {in[0], in[0]};
}

const OpDef& op = define<SgdAttrs>({.name = "sgd_step", .infer = infer});

}  // namespace

SgdResult sgd_step(const Tensor& w, const Tensor& g, const Tensor& v, const SgdAttrs& attrs) {
  auto out = apply(op, std::make_shared<SgdAttrs>(attrs), {w, g, v});
  return {out[0], out[1]};
}

}  // namespace vitrine
