// concat: inputs one after the other along an axis; slice: a part of an axis. Each is made of the other's gradient.
#include "engine/ops/concat.h"

#include "engine/ops.h"
#include "engine/ops/shapes.h"
#include "engine/ops/ties.h"

namespace vitrine {
namespace {

Metas concat_infer(const Metas& in, Attrs* attrs) {
  const int64_t axis = static_cast<ConcatAttrs&>(*attrs).axis;
  check_float(in, in.size());
  Shape to = in[0].shape;
  CHECK(axis >= 0 && axis < to.rank(), "axis ", axis, " of ", to);
  for (size_t k = 1; k < in.size(); ++k) {
    Shape rest = in[k].shape;
    CHECK(rest.rank() == to.rank(), "ranks of ", in[0].shape, " and ", rest, " differ");
    to[axis] += rest[axis];
    rest[axis] = in[0].shape[axis];
    CHECK(rest == in[0].shape, "shapes ", in[0].shape, " and ", in[k].shape, " differ beside axis ", axis);
  }
  check_extents(to);
  return {Meta{to, in[0].dtype}};
}

Metas slice_infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<SliceAttrs&>(*attrs);
  check_float(in, 1);
  Shape to = in[0].shape;
  CHECK(a.axis >= 0 && a.axis < to.rank(), "axis ", a.axis, " of ", to);
  CHECK(a.begin >= 0 && a.begin <= a.end && a.end <= to[a.axis], "[", a.begin, ", ", a.end, ") of axis ", a.axis, " of ", to);
  to[a.axis] = a.end - a.begin;
  return {Meta{to, in[0].dtype}};
}

Tensors concat_backward(const Back& b) {
  const int64_t axis = b.as<ConcatAttrs>().axis;
  Tensors grads;
  int64_t begin = 0;
  for (size_t k = 0; k < b.in.size(); ++k) {
    const int64_t end = begin + b.in[k].shape()[axis];
    grads.push_back(b.needs(static_cast<int>(k)) ? slice(b.grad[0], axis, begin, end) : Tensor{});
    begin = end;
  }
  return grads;
}

Tensors slice_backward(const Back& b) {
  auto& a = b.as<SliceAttrs>();
  Tensors parts;
  auto zeros = [&](int64_t extent) {
    Shape s = b.in[0].shape();
    s[a.axis] = extent;
    if (extent) parts.push_back(Tensor::zeros(s, b.grad[0].dtype(), b.grad[0].device()));
  };
  zeros(a.begin);
  parts.push_back(b.grad[0]);
  zeros(b.in[0].shape()[a.axis] - a.end);
  return {concat(parts, a.axis)};
}

void concat_ties(Ties& t) {
  const int joined = static_cast<int>(t.as<ConcatAttrs>().axis), count = static_cast<int>(t.in.size());
  for (int axis = 0; axis < t.out[0].shape.rank(); ++axis) {
    bool known = false;
    for (int k = 0; k < count; ++k) known |= t.known(k, axis);
    if (!known) continue;
    Channels all;
    for (int k = 0; k < count; ++k) {
      Channels c = t.of(k, axis);
      if (axis == joined || k == 0)
        all.insert(all.end(), c.begin(), c.end());
      else
        t.tie(all, c);
    }
    t.give(0, axis, all);
  }
}

void slice_ties(Ties& t) {
  auto& a = t.as<SliceAttrs>();
  for (int axis = 0; axis < t.out[0].shape.rank(); ++axis) {
    if (!t.known(0, axis)) continue;
    Channels c = t.of(0, axis);
    t.give(0, axis, axis == a.axis ? Channels(c.begin() + a.begin, c.begin() + a.end) : c);
  }
}

AttrsPtr slice_narrow(const Narrowed& n) {
  auto a = std::make_shared<SliceAttrs>(static_cast<SliceAttrs&>(*n.attrs));
  const int axis = static_cast<int>(a->axis);
  a->begin = n.left_below(0, axis, a->begin), a->end = n.left_below(0, axis, a->end);
  return a;
}

const OpDef& concat_op =
    define<ConcatAttrs>({.name = "concat", .infer = concat_infer, .backward = concat_backward, .ties = concat_ties, .saves_in = 0});
const OpDef& slice_op = define<SliceAttrs>(
    {.name = "slice", .infer = slice_infer, .backward = slice_backward, .ties = slice_ties, .narrow = slice_narrow, .saves_in = 0});

}  // namespace

Tensor concat(const Tensors& parts, int64_t axis) {
  auto a = std::make_shared<ConcatAttrs>();
  a->axis = axis < 0 && !parts.empty() ? axis + parts[0].shape().rank() : axis;
  return apply1(concat_op, a, parts);
}

Tensor slice(const Tensor& x, int64_t axis, int64_t begin, int64_t end) {
  auto a = std::make_shared<SliceAttrs>();
  a->axis = axis < 0 ? axis + x.shape().rank() : axis, a->begin = begin, a->end = end;
  return apply1(slice_op, a, {x});
}

}  // namespace vitrine
