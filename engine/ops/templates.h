// IJB's pooling and scores as operators, for devices: the arithmetic of eval/templates.h, with its bits. Not differentiable.
#pragma once
#include "engine/core/op.h"

namespace vitrine {

struct PoolFacesAttrs : Attrs {
  int64_t keep_norm = 1, detector = 1;
  void visit(AttrVisitor& v) override { v("keep_norm", keep_norm), v("detector", detector); }
};

// features f32 [rows, dim] (embedding + mirrored embedding), scores f32 [rows]; faces i64 [n]: rows in the order of pooling; media i64
// [m+1]: where each medium begins in `faces`, and the end; templates i64 [t+1]: where each template begins in `media`, and the end.
// -> f64 [t, dim], sums over media of the mean of the medium's features, each first divided by its length (unless keep_norm) and multiplied
// by its score (detector).
Tensor pool_faces(const Tensor& features, const Tensor& scores, const Tensor& faces, const Tensor& media, const Tensor& templates,
                  const PoolFacesAttrs&);

// rows f64 [n, dim], pairs i32 [p, 2] -> f64 [p]: dot products of pairs of rows, in the order of core/chains.h. The highest bit of a pair's
// two numbers is not read: lists that keep a label there (eval/ijb.h) are handed over as they lie in memory.
inline constexpr int32_t kRowBits = 0x7fffffff;
Tensor pair_dots(const Tensor& rows, const Tensor& pairs);

}  // namespace vitrine
