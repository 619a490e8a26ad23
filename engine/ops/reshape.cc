// reshape (a view), transpose, gather, scatter_add, sort: data movement.
#include "engine/ops.h"
#include "engine/ops/reduce.h"
#include "engine/ops/shapes.h"
#include "engine/ops/ties.h"

namespace vitrine {
namespace {

Metas reshape_infer(const Metas& in, Attrs* attrs) {
  CHECK(in.size() == 1, "expected one input");
  Shape to = static_cast<ShapeAttrs&>(*attrs).shape;
  int unknown = -1;
  for (int i = 0; i < to.rank(); ++i) {
    if (to[i] == 0 && i < in[0].shape.rank()) to[i] = in[0].shape[i];
    if (to[i] != -1) continue;
    CHECK(unknown < 0, "more than one -1 in ", to);
    unknown = i;
  }
  if (unknown >= 0) to[unknown] = 1;
  check_extents(to);
  if (unknown >= 0) {
    int64_t known = to.numel();
    to[unknown] = known ? in[0].numel() / known : in[0].shape.rank() ? in[0].shape.product(1, in[0].shape.rank()) : 1;
    if (known == 0) {  // an empty batch: the inferred extent is that of one row
      to[unknown] = in[0].shape.product(1, in[0].shape.rank());
      for (int i = 1; i < to.rank(); ++i)
        if (i != unknown && to[i]) to[unknown] /= to[i];
    }
  }
  CHECK(to.numel() == in[0].numel(), in[0].shape, " has ", in[0].numel(), " elements, ", to, " has ", to.numel());
  return {Meta{to, in[0].dtype}};
}

Metas transpose_infer(const Metas& in, Attrs* attrs) {
  CHECK(in.size() == 1, "expected one input");
  check_indexable(in[0]);
  const Shape &order = static_cast<ShapeAttrs&>(*attrs).shape, &x = in[0].shape;
  CHECK(order.rank() == x.rank(), "order ", order, " for ", x);
  Shape to;
  std::vector<bool> seen(x.rank());
  for (int64_t axis : order) {
    CHECK(axis >= 0 && axis < x.rank() && !seen[axis], "order ", order, " is not a permutation");
    seen[axis] = true;
    to.push_back(x[static_cast<int>(axis)]);
  }
  return {Meta{to, in[0].dtype}};
}

Tensors transpose_backward(const Back& b) {
  const Shape& order = b.as<ShapeAttrs>().shape;
  Shape inverse = order;
  for (int i = 0; i < order.rank(); ++i) inverse[static_cast<int>(order[i])] = i;
  return {transpose(b.grad[0], inverse)};
}

Metas gather_infer(const Metas& in, Attrs*) {
  CHECK(in.size() == 2 && in[0].shape.rank() >= 1 && in[1].shape.rank() == 1 && in[1].dtype == Dtype::i64,
        "expected x [R,...] and index i64 [n]");
  check_indexable(in[0]);
  Shape to = in[0].shape;
  to[0] = in[1].shape[0];
  return {Meta{to, in[0].dtype}};
}

Metas scatter_infer(const Metas& in, Attrs* attrs) {
  CHECK(in.size() == 2 && in[0].shape.rank() >= 1 && in[1].dtype == Dtype::i64 && in[1].shape == Shape({in[0].shape[0]}),
        "expected g [n,...] and index i64 [n]");
  CHECK(is_float(in[0].dtype), "expected a floating-point dtype");
  Shape to = in[0].shape;
  to[0] = static_cast<RowsAttrs&>(*attrs).rows;
  check_extents(to);
  return {Meta{to, in[0].dtype}};
}

Metas sort_infer(const Metas& in, Attrs*) {
  check_float(in, 1);
  CHECK(in[0].shape.rank() == 1, "expected a list, got ", in[0].shape);
  return {in[0], Meta{in[0].shape, Dtype::i64}};
}

// Axes [from, to) of x become axes [first, last) of y. Merged axes: a channel for each element, so that it has as many indices as pixels.
// Split axes: channels must stay along one axis, and that is the last; what lies on the others is one with it.
void tie_block(Ties& t, int from, int to, int first, int last) {
  const Shape &x = t.in[0].shape, &y = t.out[0].shape;
  int axis = -1;
  for (int i = from; i < to; ++i) {
    if (!t.known(0, i)) continue;
    if (axis >= 0) return;  // two kinds of channels in one axis: left unread
    axis = i;
  }
  if (axis < 0) return;
  Channels each;
  for (int64_t outer = 0; outer < x.product(from, axis); ++outer)
    for (int channel : t.of(0, axis)) each.insert(each.end(), x.product(axis + 1, to), channel);
  while (last > first + 1 && y[last - 1] == 1) --last;
  const size_t extent = y[last - 1];
  for (size_t i = extent; i < each.size(); ++i) t.tie(each[i], each[i % extent]);
  each.resize(extent);
  t.give(0, last - 1, each);
}

void reshape_ties(Ties& t) {
  const Shape &x = t.in[0].shape, &y = t.out[0].shape;
  if (x.numel() == 0) return;
  for (int i = 0, j = 0; i < x.rank() && j < y.rank();) {  // the shortest runs of axes with equally many elements
    const int from = i, first = j;
    int64_t a = x[i++], b = y[j++];
    while (a != b)
      if (a < b)
        a *= x[i++];
      else
        b *= y[j++];
    tie_block(t, from, i, first, j);
  }
}

void transpose_ties(Ties& t) {
  const Shape& order = t.as<ShapeAttrs>().shape;
  for (int axis = 0; axis < order.rank(); ++axis)
    if (const int from = static_cast<int>(order[axis]); t.known(0, from)) t.give(0, axis, t.of(0, from));
}

const OpDef& reshape_op = define<ShapeAttrs>({
    .name = "reshape",
    .infer = reshape_infer,
    .backward = [](const Back& b) -> Tensors { return {reshape(b.grad[0], b.in[0].shape())}; },
    .ties = reshape_ties,
    .narrow = narrow_shape,
    .view = true,
    .saves_in = 0,
});
const OpDef& transpose_op = define<ShapeAttrs>(
    {.name = "transpose", .infer = transpose_infer, .backward = transpose_backward, .ties = transpose_ties, .saves_in = 0});
const OpDef& gather_op = define({
    .name = "gather",
    .infer = gather_infer,
    .backward = [](const Back& b) -> Tensors {
      return {scatter_add(b.grad[0], b.in[1], b.in[0].shape()[0]), {}};
    },
    .saves_in = 2,
});
const OpDef& scatter_op = define<RowsAttrs>({
    .name = "scatter_add",
    .infer = scatter_infer,
    .backward = [](const Back& b) -> Tensors {
      return {gather(b.grad[0], b.in[1]), {}};
    },
    .saves_in = 2,
});
const OpDef& sort_op = define<SortAttrs>({
    .name = "sort",
    .infer = sort_infer,
    .backward = [](const Back& b) -> Tensors { return {b.grad[0] ? scatter_add(b.grad[0], b.out[1], b.in[0].shape()[0]) : Tensor{}}; },
    .saves_in = 0,
    .saves_out = 2,
});

AttrsPtr shape_attrs(Shape shape) {
  auto a = std::make_shared<ShapeAttrs>();
  a->shape = shape;
  return a;
}

}  // namespace

Tensor reshape(const Tensor& x, Shape shape) { return apply1(reshape_op, shape_attrs(shape), {x}); }
Tensor flatten(const Tensor& x) { return reshape(x, {0, -1}); }
Tensor transpose(const Tensor& x, Shape order) { return apply1(transpose_op, shape_attrs(order), {x}); }
Tensor gather(const Tensor& x, const Tensor& index) { return apply1(gather_op, {}, {x, index}); }
Tensor scatter_add(const Tensor& g, const Tensor& index, int64_t rows) {
  auto a = std::make_shared<RowsAttrs>();
  a->rows = rows;
  return apply1(scatter_op, a, {g, index});
}
Sorted sort(const Tensor& x, bool descending) {
  auto a = std::make_shared<SortAttrs>();
  a->descending = descending;
  auto out = apply(sort_op, a, {x});
  return {out[0], out[1]};
}

}  // namespace vitrine
