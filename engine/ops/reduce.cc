// sum, min, max over neighbouring axes; mean, sum_to and expand are made of them. Other sets of axes are transposed to be neighbours first.
#include "engine/ops/reduce.h"

#include "engine/ops.h"
#include "engine/ops/shapes.h"
#include "engine/ops/ties.h"

namespace vitrine {
namespace {

Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<ReduceAttrs&>(*attrs);
  check_float(in, 1);
  const Shape& x = in[0].shape;
  CHECK(a.first >= 0 && a.count >= 0 && a.first <= x.rank() && a.count <= x.rank() - a.first, a.count, " axes from ", a.first, " on of ",
        x);
  Shape out;
  for (int i = 0; i < x.rank(); ++i) {
    bool reduced = i >= a.first && i < a.first + a.count;
    if (!reduced)
      out.push_back(x[i]);
    else if (a.keep)
      out.push_back(1);
  }
  return {Meta{out, in[0].dtype}};
}

Tensors sum_backward(const Back& b) {
  auto& a = b.as<ReduceAttrs>();
  Shape kept = b.in[0].shape();
  for (int64_t i = a.first; i < a.first + a.count; ++i) kept[static_cast<int>(i)] = 1;
  return {expand(reshape(b.grad[0], kept), b.in[0].shape())};
}

Metas expand_infer(const Metas& in, Attrs* attrs) {
  const Shape& to = static_cast<ShapeAttrs&>(*attrs).shape;
  check_float(in, 1);
  check_extents(to);
  CHECK(broadcast(in[0].shape, to) == to, in[0].shape, " does not broadcast to ", to);
  return {Meta{to, in[0].dtype}};
}

void pass(Ties& t, bool reduced_too) {
  auto& a = t.as<ReduceAttrs>();
  for (int i = 0, to = 0; i < t.in[0].shape.rank(); ++i) {
    const bool reduced = i >= a.first && i < a.first + a.count;
    if (t.known(0, i) && !reduced) t.give(0, to, t.of(0, i));
    if (t.known(0, i) && reduced && reduced_too) t.of(0, i);
    to += !reduced || a.keep;
  }
}
void sum_ties(Ties& t) { pass(t, true); }       // a channel that has gone adds nothing
void extreme_ties(Ties& t) { pass(t, false); }  // but its zero could have been the largest

// Repeated channels are ties of the result alone: one slope for all channels.
void expand_ties(Ties& t) {
  tie_elementwise(t);
  const Shape &x = t.in[0].shape, &y = t.out[0].shape;
  if (y.rank() && y.back() != 1 && (x.rank() == 0 || x.back() == 1)) t.give(0, y.rank() - 1, t.fresh(y.back()));
}

const OpDef& sum_op = define<ReduceAttrs>({.name = "sum", .infer = infer, .backward = sum_backward, .ties = sum_ties, .saves_in = 0});
const OpDef& min_op = define<ReduceAttrs>({.name = "min", .infer = infer, .ties = extreme_ties});
const OpDef& max_op = define<ReduceAttrs>({.name = "max", .infer = infer, .ties = extreme_ties});
const OpDef& expand_op = define<ShapeAttrs>({
    .name = "expand",
    .infer = expand_infer,
    .backward = [](const Back& b) -> Tensors { return {sum_to(b.grad[0], b.in[0].shape())}; },
    .ties = expand_ties,
    .narrow = narrow_shape,
    .saves_in = 0,
});

Tensor reduce(const OpDef& op, Tensor x, Shape axes, bool keep) {
  int rank = x.shape().rank();
  std::vector<bool> reduced(rank, axes.rank() == 0);
  for (int64_t axis : axes) {
    CHECK(axis >= -rank && axis < rank, op.name, ": axis ", axis, " of ", x.shape());
    reduced[axis < 0 ? axis + rank : axis] = true;
  }
  Shape order, kept;
  int first = rank, count = 0;
  for (int i = 0; i < rank; ++i) {
    if (reduced[i]) first = std::min(first, i), ++count;
    if (!reduced[i] || keep) kept.push_back(reduced[i] ? 1 : x.shape()[i]);
  }
  bool neighbours =
      std::all_of(reduced.begin() + std::min(first, rank), reduced.begin() + std::min(first + count, rank), [](bool r) { return r; });
  if (!neighbours) {
    for (int pass : {0, 1})
      for (int i = 0; i < rank; ++i)
        if (reduced[i] == pass) order.push_back(i);
    x = transpose(x, order);
    first = rank - count;
  }
  auto a = std::make_shared<ReduceAttrs>();
  a->first = count ? first : 0, a->count = count, a->keep = keep && neighbours;
  Tensor y = apply1(op, a, {x});
  return y.shape() == kept ? y : reshape(y, kept);
}

}  // namespace

Tensor sum(const Tensor& x, Shape axes, bool keep) { return reduce(sum_op, x, axes, keep); }
Tensor min(const Tensor& x, Shape axes, bool keep) { return reduce(min_op, x, axes, keep); }
Tensor max(const Tensor& x, Shape axes, bool keep) { return reduce(max_op, x, axes, keep); }

Tensor mean(const Tensor& x, Shape axes, bool keep) {
  Tensor s = sum(x, axes, keep);
  int64_t n = x.numel() / std::max<int64_t>(1, s.numel());
  CHECK(n > 0, "mean: of no elements, ", str(x.meta()));
  return mul_scalar(s, 1.0 / static_cast<double>(n));
}

Tensor expand(const Tensor& x, Shape shape) {
  if (x.shape() == shape) return x;
  auto a = std::make_shared<ShapeAttrs>();
  a->shape = shape;
  return apply1(expand_op, a, {x});
}

Tensor sum_to(const Tensor& x, Shape shape) {
  if (x.shape() == shape) return x;
  CHECK(broadcast(shape, x.shape()) == x.shape(), "sum_to: ", x.shape(), " to ", shape);
  Shape axes;
  int lead = x.shape().rank() - shape.rank();
  for (int i = 0; i < x.shape().rank(); ++i)
    if (i < lead || (shape[i - lead] == 1 && x.shape()[i] != 1)) axes.push_back(i);
  Tensor y = axes.rank() ? sum(x, axes) : x;
  return y.shape() == shape ? y : reshape(y, shape);
}

}  // namespace vitrine
