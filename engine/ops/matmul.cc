#include "engine/ops/matmul.h"

#include "engine/core/ties.h"

namespace vitrine {
namespace {

Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<MatmulAttrs&>(*attrs);
  CHECK(in.size() == 2, "matmul: ", in.size(), " inputs, expected 2");
  auto what = [&] { return cat("matmul: a ", str(in[0]), a.ta ? " transposed" : "", ", b ", str(in[1]), a.tb ? " transposed" : "", ": "); };
  CHECK(in[0].shape.rank() == 2 && in[1].shape.rank() == 2, what(), "rank 2 expected");
  CHECK(in[0].dtype == in[1].dtype, what(), "the dtypes differ");
  CHECK(in[0].dtype == Dtype::f32 || in[0].dtype == Dtype::f64, what(), "dtype f32 or f64 expected");
  int64_t k = in[0].shape[a.ta ? 0 : 1], rows_b = in[1].shape[a.tb ? 1 : 0];
  CHECK(k == rows_b, what(), "the inner extents ", k, " and ", rows_b, " differ");
  return {{{in[0].shape[a.ta ? 1 : 0], in[1].shape[a.tb ? 0 : 1]}, in[0].dtype, in[0].device}};
}

// C = op(A) op(B): dA = G op(B)^T and dB = op(A)^T G, transposed as a whole where the operand is stored transposed.
Tensors backward(const Back& back) {
  auto& attrs = back.as<MatmulAttrs>();
  const Tensor &a = back.in[0], &b = back.in[1], &g = back.grad[0];
  bool ta = attrs.ta, tb = attrs.tb;
  Tensor ga, gb;
  if (back.needs(0)) ga = ta ? matmul(b, g, tb, true) : matmul(g, b, false, !tb);
  if (back.needs(1)) gb = tb ? matmul(g, a, true, ta) : matmul(a, g, !ta, false);
  return {ga, gb};
}

int64_t macs(const Metas& in, const Metas& out, Attrs* attrs) {
  return out[0].numel() * in[0].shape[static_cast<MatmulAttrs&>(*attrs).ta ? 0 : 1];
}

void ties(Ties& t) {
  auto& a = t.as<MatmulAttrs>();
  const int rows = a.ta ? 1 : 0, columns = a.tb ? 0 : 1;
  t.tie(t.of(0, 1 - rows), t.of(1, 1 - columns));
  if (t.known(0, rows)) t.give(0, 0, t.of(0, rows));
  t.give(0, 1, t.of(1, columns));
}

const OpDef& op = define<MatmulAttrs>({.name = "matmul", .infer = infer, .backward = backward, .macs = macs, .ties = ties});

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, bool ta, bool tb) {
  auto attrs = std::make_shared<MatmulAttrs>();
  attrs->ta = ta, attrs->tb = tb;
  return apply1(op, attrs, {a, b});
}

}  // namespace vitrine
