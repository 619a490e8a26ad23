#include "engine/core/ties.h"
#include "engine/ops.h"
#include "engine/ops/shapes.h"

namespace vitrine {

void Conv2dAttrs::visit(AttrVisitor& v) {
  v("stride_h", stride_h), v("stride_w", stride_w), v("pad_h", pad_h), v("pad_w", pad_w);
  v("dilation_h", dilation_h), v("dilation_w", dilation_w), v("groups", groups);
}
void Conv2dGradXAttrs::visit(AttrVisitor& v) {
  Conv2dAttrs::visit(v);
  v("h", h), v("w", w);
}
void Conv2dGradWAttrs::visit(AttrVisitor& v) {
  Conv2dAttrs::visit(v);
  v("kh", kh), v("kw", kw);
}

namespace {

// Of every extent and attribute: products of two of them do not overflow, so damaged graphs cannot confuse the checks below.
constexpr int64_t kLargest = int64_t{1} << 30;
// Kernels multiply strides, dilations and extents of the padded image, and copy it: far beyond any network, far below what they can hold.
constexpr int64_t kLargestStride = 1 << 10, kLargestExtent = 1 << 20, kLargestImage = 1 << 28;

// The checks that all three share, phrased with the two inputs' own names.
void check_inputs(const char* op, const char* first, const char* second, const Metas& in, const Conv2dAttrs& a, bool weights) {
  CHECK(in.size() == 2, op, ": ", in.size(), " inputs, expected 2");
  auto what = [&] { return cat(op, ": ", first, " ", str(in[0]), ", ", second, " ", str(in[1]), ": "); };
  CHECK(in[0].shape.rank() == 4, what(), first, " has rank ", in[0].shape.rank(), ", expected 4");
  CHECK(in[1].shape.rank() == 4, what(), second, " has rank ", in[1].shape.rank(), ", expected 4");
  for (const Meta& m : in) CHECK(is_float(m.dtype) || m.dtype == Dtype::bf16, what(), "dtype f32, f64 or bf16 expected");
  const bool widens = in[0].dtype == Dtype::bf16 || in[1].dtype == Dtype::bf16;
  CHECK(widens || in[0].dtype == in[1].dtype, what(), "the dtypes differ");
  for (const Meta& m : in)
    for (int64_t extent : m.shape) CHECK(extent <= kLargest, what(), "an extent exceeds ", kLargest);
  for (int64_t v : {a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dilation_h, a.dilation_w, a.groups})
    CHECK(v <= kLargest, what(), "attribute ", v, " exceeds ", kLargest);
  for (int64_t v : {a.stride_h, a.stride_w}) CHECK(v > 0 && v <= kLargestStride, what(), "stride ", v, ", expected 1 to ", kLargestStride);
  for (int64_t v : {a.dilation_h, a.dilation_w})
    CHECK(v > 0 && v <= kLargestExtent, what(), "dilation ", v, ", expected 1 to ", kLargestExtent);
  CHECK(a.pad_h >= 0 && a.pad_w >= 0, what(), "padding ", a.pad_h, "x", a.pad_w, " is negative");
  int64_t channels = in[0].shape[3], outputs = weights ? in[1].shape[0] : in[1].shape[3];
  for (int64_t v : {channels, outputs, in[1].shape[3]}) CHECK(v > 0, what(), "no channels");
  CHECK(a.groups > 0 && outputs % a.groups == 0, what(), outputs, " output channels do not divide into ", a.groups, " groups");
  if (!weights) CHECK(channels % a.groups == 0, what(), channels, " input channels do not divide into ", a.groups, " groups");
}

// What sums are taken in: bf16 is widened to the other's dtype, or to f32.
Dtype summed(const Metas& in) {
  for (const Meta& m : in)
    if (m.dtype != Dtype::bf16) return m.dtype;
  return Dtype::f32;
}

// Extent of y along one axis of the padded image.
int64_t out_extent(const char* op, const char* axis, int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dilation) {
  CHECK(k > 0 && k <= kLargest, op, ": the kernel has ", k, " taps along ", axis, ", expected 1 to ", kLargest);
  CHECK(in >= 0 && in <= kLargest, op, ": the input has extent ", in, " along ", axis, ", expected 0 to ", kLargest);
  int64_t span = dilation * (k - 1) + 1;
  CHECK(in + 2 * pad >= span, op, ": kernel spans ", span, " along ", axis, ", the padded input only ", in + 2 * pad);
  CHECK(in + 2 * pad <= kLargestExtent, op, ": the padded input has extent ", in + 2 * pad, " along ", axis, ", expected at most ",
        kLargestExtent);
  return (in + 2 * pad - span) / stride + 1;
}
Shape out_shape(const char* op, const Shape& x, const Shape& w, const Conv2dAttrs& a) {
  const Shape y{x[0], out_extent(op, "h", x[1], w[1], a.stride_h, a.pad_h, a.dilation_h),
                out_extent(op, "w", x[2], w[2], a.stride_w, a.pad_w, a.dilation_w), w[0]};
  for (const Shape* s : {&x, &w, &y}) check_extents(*s);
  const int64_t pixels = (x[1] + 2 * a.pad_h) * (x[2] + 2 * a.pad_w);
  CHECK(x[3] <= kLargestImage / pixels, op, ": a padded image has ", pixels, " x ", x[3], " elements, expected at most ", kLargestImage);
  return y;
}

Metas infer_conv2d(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<Conv2dAttrs&>(*attrs);
  check_inputs("conv2d", "x", "w", in, a, true);
  const Shape &x = in[0].shape, &w = in[1].shape;
  CHECK(x[3] == w[3] * a.groups, "conv2d: x ", str(in[0]), ", w ", str(in[1]), ": ", w[3], " input channels per group expected ",
        x[3] % a.groups == 0 ? cat(x[3] / a.groups) : cat(x[3], "/", a.groups));
  return {{out_shape("conv2d", x, w, a), in[0].dtype, in[0].device}};
}

Metas infer_grad_x(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<Conv2dGradXAttrs&>(*attrs);
  const char* op = "conv2d_grad_x";
  check_inputs(op, "g", "w", in, a, true);
  const Shape &g = in[0].shape, &w = in[1].shape;
  Shape x{g[0], a.h, a.w, w[3] * a.groups};
  CHECK(out_shape(op, x, w, a) == g, op, ": g ", str(in[0]), ", w ", str(in[1]), ": an input of ", x, " gives an output of ",
        out_shape(op, x, w, a));
  return {{x, in[0].dtype, in[0].device}};
}

Metas infer_grad_w(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<Conv2dGradWAttrs&>(*attrs);
  const char* op = "conv2d_grad_w";
  check_inputs(op, "x", "g", in, a, false);
  const Shape &x = in[0].shape, &g = in[1].shape;
  Shape w{g[3], a.kh, a.kw, x[3] / a.groups};
  CHECK(out_shape(op, x, w, a) == g, op, ": x ", str(in[0]), ", g ", str(in[1]), ": weights ", w, " give an output of ",
        out_shape(op, x, w, a));
  return {{w, summed(in), in[0].device}};
}

// y = conv(x, w), gx = grad_x(g, w) and gw = grad_w(x, g) are the three ways to contract one trilinear form, so each one's derivatives
// are the other two.
Tensors backward_conv2d(const Back& b) {
  auto& a = b.as<Conv2dAttrs>();
  const Tensor &x = b.in[0], &w = b.in[1];
  const Tensor g = cast(b.grad[0], x.dtype());  // once for both
  return {b.needs(0) ? conv2d_grad_x(g, w, a, x.shape()[1], x.shape()[2]) : Tensor(),
          b.needs(1) ? conv2d_grad_w(x, g, a, w.shape()[1], w.shape()[2]) : Tensor()};
}
Tensors backward_grad_x(const Back& b) {
  auto& a = b.as<Conv2dGradXAttrs>();
  const Tensor &g = b.in[0], &w = b.in[1], &d = b.grad[0];
  return {b.needs(0) ? conv2d(d, w, a) : Tensor(), b.needs(1) ? conv2d_grad_w(d, g, a, w.shape()[1], w.shape()[2]) : Tensor()};
}
Tensors backward_grad_w(const Back& b) {
  auto& a = b.as<Conv2dGradWAttrs>();
  const Tensor &x = b.in[0], &g = b.in[1], &d = b.grad[0];
  return {b.needs(0) ? conv2d_grad_x(g, d, a, x.shape()[1], x.shape()[2]) : Tensor(), b.needs(1) ? conv2d(x, d, a) : Tensor()};
}

// Taps in the padding are counted: it is the work of the dense formula, and what papers count.
int64_t macs_conv2d(const Metas& in, const Metas& out, Attrs*) { return out[0].numel() * in[1].shape.product(1, 4); }
int64_t macs_grad_x(const Metas& in, const Metas&, Attrs*) { return in[0].numel() * in[1].shape.product(1, 4); }
int64_t macs_grad_w(const Metas& in, const Metas& out, Attrs*) { return in[1].numel() * out[0].shape.product(1, 4); }

// Of groups of one input or one output channel none can become narrower: then, or if wished, a group goes as a whole.
bool whole(const Ties& t, const Shape& w) {
  const int64_t groups = t.as<Conv2dAttrs>().groups;
  return groups > 1 && (t.whole_groups || w[3] == 1 || w[0] == groups);
}
// Otherwise all groups become narrower alike: rows (outputs) and columns at equal positions in their groups are one.
void tie_aligned(Ties& t, const Channels& all, const Channels& positions) {
  for (size_t i = 0; i < all.size(); ++i) t.tie(all[i], positions[i % positions.size()]);
}

void conv2d_ties(Ties& t) {
  const Shape& w = t.in[1].shape;
  const Channels x = t.of(0, 3), rows = t.of(1, 0);
  const size_t groups = t.as<Conv2dAttrs>().groups, reads = w[3], makes = rows.size() / groups;
  if (whole(t, w)) {
    for (size_t i = 0; i < x.size(); ++i) t.tie(x[i], rows[i / reads * makes]);
    for (size_t i = 0; i < rows.size(); ++i) t.tie(rows[i], rows[i / makes * makes]);
  } else {
    tie_aligned(t, x, t.of(1, 3));
    tie_aligned(t, rows, {rows.begin(), rows.begin() + makes});
  }
  t.give(0, 3, rows);
}

// As a network's layer this is the transposed convolution: it reads what a convolution makes.
void grad_x_ties(Ties& t) {
  const Shape& w = t.in[1].shape;
  const Channels g = t.of(0, 3), rows = t.of(1, 0);
  const size_t groups = t.as<Conv2dAttrs>().groups, reads = rows.size() / groups, makes = w[3];
  t.tie(g, rows);
  Channels x(groups * makes);
  if (whole(t, w)) {
    for (size_t i = 0; i < rows.size(); ++i) t.tie(rows[i], rows[i / reads * reads]);
    for (size_t i = 0; i < x.size(); ++i) x[i] = rows[i / makes * reads];
  } else {
    const Channels columns = t.of(1, 3);
    tie_aligned(t, rows, {rows.begin(), rows.begin() + reads});
    for (size_t i = 0; i < x.size(); ++i) x[i] = columns[i % makes];
  }
  t.give(0, 3, x);
}

// `channels` are those that the weights' columns and the groups share out among them.
template <class A>
AttrsPtr regroup(const Narrowed& n, int64_t channels) {
  auto a = std::make_shared<A>(static_cast<A&>(*n.attrs));
  a->groups = channels / n.in[1].shape[3];
  return a;
}
AttrsPtr narrow_conv2d(const Narrowed& n) { return regroup<Conv2dAttrs>(n, n.in[0].shape[3]); }
AttrsPtr narrow_grad_x(const Narrowed& n) { return regroup<Conv2dGradXAttrs>(n, n.out[0].shape[3]); }

const OpDef& conv2d_op = define<Conv2dAttrs>({.name = "conv2d",
                                              .infer = infer_conv2d,
                                              .backward = backward_conv2d,
                                              .macs = macs_conv2d,
                                              .ties = conv2d_ties,
                                              .narrow = narrow_conv2d});
const OpDef& grad_x_op = define<Conv2dGradXAttrs>({.name = "conv2d_grad_x",
                                                   .infer = infer_grad_x,
                                                   .backward = backward_grad_x,
                                                   .macs = macs_grad_x,
                                                   .ties = grad_x_ties,
                                                   .narrow = narrow_grad_x});
const OpDef& grad_w_op =
    define<Conv2dGradWAttrs>({.name = "conv2d_grad_w", .infer = infer_grad_w, .backward = backward_grad_w, .macs = macs_grad_w});

// A is Conv2dAttrs extended; takes over its common part.
template <class A>
std::shared_ptr<A> extend(const Conv2dAttrs& common) {
  auto attrs = std::make_shared<A>();
  static_cast<Conv2dAttrs&>(*attrs) = common;
  return attrs;
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& w, const Conv2dAttrs& a) { return apply1(conv2d_op, extend<Conv2dAttrs>(a), {x, w}); }

Tensor conv2d_grad_x(const Tensor& g, const Tensor& w, const Conv2dAttrs& a, int64_t h, int64_t width) {
  auto attrs = extend<Conv2dGradXAttrs>(a);
  attrs->h = h, attrs->w = width;
  return apply1(grad_x_op, attrs, {g, w});
}

Tensor conv2d_grad_w(const Tensor& x, const Tensor& g, const Conv2dAttrs& a, int64_t kh, int64_t kw) {
  auto attrs = extend<Conv2dGradWAttrs>(a);
  attrs->kh = kh, attrs->kw = kw;
  return apply1(grad_w_op, attrs, {x, g});
}

}  // namespace vitrine
