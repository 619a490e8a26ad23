#include "engine/ops/ties.h"

#include "engine/ops/reduce.h"

namespace vitrine {

void tie_elementwise(Ties& t) {
  const Shape& y = t.out[0].shape;
  const int count = static_cast<int>(t.in.size());
  for (int axis = 0; axis < y.rank(); ++axis) {
    auto at = [&](int k) { return axis - y.rank() + t.in[k].shape.rank(); };
    auto spans = [&](int k) { return at(k) >= 0 && t.in[k].shape[at(k)] == y[axis]; };
    bool known = false;
    for (int k = 0; k < count; ++k) known |= spans(k) && t.known(k, at(k));
    if (!known) continue;
    Channels all;
    for (int k = 0; k < count; ++k) {
      if (!spans(k)) continue;
      Channels c = t.of(k, at(k));
      if (all.empty())
        all = c;
      else
        t.tie(all, c);
    }
    t.give(0, axis, all);
  }
}

AttrsPtr narrow_shape(const Narrowed& n) {
  auto a = std::make_shared<ShapeAttrs>(static_cast<ShapeAttrs&>(*n.attrs));
  for (int i = 0; i < a->shape.rank(); ++i)
    if (a->shape[i] > 0) a->shape[i] = n.out[0].shape[i];  // 0 and -1 take what there is
  return a;
}

}  // namespace vitrine
