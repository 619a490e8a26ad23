#include "engine/ops/templates.h"

#include "tests/case.h"

namespace vitrine {
namespace {

Tensor list(const std::vector<int64_t>& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v); }

// Six rows, one of which is left out and one zero; the second of three templates is empty. f32 whatever is asked: features are.
Tensors faces(Maker& m) {
  Tensor x = m.uniform({6, 19}).to(Dtype::f32);
  for (int i = 0; i < 19; ++i) x.data<float>()[2 * 19 + i] = 0;
  return {x, m.uniform({6}, 0.1, 1).to(Dtype::f32), list({4, 0, 2, 1, 3}), list({0, 1, 3, 5}), list({0, 2, 2, 3})};
}
Tensors pooled(const Tensors& x, int64_t keep_norm, int64_t detector) {
  PoolFacesAttrs a;
  a.keep_norm = keep_norm, a.detector = detector;
  return {pool_faces(x[0], x[1], x[2], x[3], x[4], a)};
}
AddCase as_they_are({"pool_faces", "as they are", faces, [](const Tensors& x) { return pooled(x, 1, 0); }, 16, false});
AddCase of_unit_length({"pool_faces", "unit length, times the score", faces, [](const Tensors& x) { return pooled(x, 0, 1); }, 16, false});

// More pairs than the lanes of a launch take at once, of rows whose length is no multiple of the chains; every third number has
// a label.
AddCase dots({"pair_dots", "many pairs",
              [](Maker& m) {
                const Tensor pairs = m.indices({700, 2}, 9).to(Dtype::i32);
                for (int i = 1; i < 1400; i += 3) pairs.data<int32_t>()[i] |= ~kRowBits;
                return Tensors{m.uniform({9, 53}).to(Dtype::f64), pairs};
              },
              [](const Tensors& x) { return Tensors{pair_dots(x[0], x[1])}; }, 64, false});
AddCase none({"pair_dots", "no pair",
              [](Maker& m) {
                return Tensors{m.uniform({2, 3}).to(Dtype::f64), Tensor::zeros({0, 2}, Dtype::i32)};
              },
              [](const Tensors& x) { return Tensors{pair_dots(x[0], x[1])}; }, 64, false});

}  // namespace
}  // namespace vitrine
