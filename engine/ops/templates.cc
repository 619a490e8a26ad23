#include "engine/ops/templates.h"

#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

Metas infer_pool(const Metas& in, Attrs*) {
  CHECK(in.size() == 5 && in[0].dtype == Dtype::f32 && in[0].shape.rank() == 2 && in[1].dtype == Dtype::f32 &&
            in[1].shape == Shape({in[0].shape[0]}),
        "expected f32[rows,dim], f32[rows], faces, media, templates");
  for (int i = 2; i < 5; ++i)
    CHECK(in[i].dtype == Dtype::i64 && in[i].shape.rank() == 1 && (i == 2 || in[i].shape[0] > 0), "input ", i, " is ", str(in[i]),
          ": expected an i64 list");
  return {{{in[4].shape[0] - 1, in[0].shape[1]}, Dtype::f64}};
}

Metas infer_dots(const Metas& in, Attrs*) {
  CHECK(in.size() == 2 && in[0].dtype == Dtype::f64 && in[0].shape.rank() == 2 && in[1].dtype == Dtype::i32 && in[1].shape.rank() == 2 &&
            in[1].shape[1] == 2,
        "expected f64[rows,dim], i32[pairs,2]");
  return {{{in[1].shape[0]}, Dtype::f64}};
}

const OpDef& pool_op = define<PoolFacesAttrs>({.name = "pool_faces", .infer = infer_pool});
const OpDef& dots_op = define({.name = "pair_dots", .infer = infer_dots});

}  // namespace

Tensor pool_faces(const Tensor& features, const Tensor& scores, const Tensor& faces, const Tensor& media, const Tensor& templates,
                  const PoolFacesAttrs& attrs) {
  return apply1(pool_op, std::make_shared<PoolFacesAttrs>(attrs), {features, scores, faces, media, templates});
}

Tensor pair_dots(const Tensor& rows, const Tensor& pairs) { return apply1(dots_op, {}, {rows, pairs}); }

}  // namespace vitrine
