#include "quant/ops/qconv2d.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "engine/cpu/qconv.h"
#include "quant/format.h"
#include "quant/ops/quantize.h"

namespace vitrine::quant {

void QConv2dAttrs::visit(AttrVisitor& v) {
  Conv2dAttrs::visit(v);
  v("x_bits", x_bits), v("slope", slope), v("residual_bits", residual_bits), v("post", post), v("out_bits", out_bits);
  v("second_bits", second_bits);
}

namespace {

// The floats per output but the scale; null where the layer has none.
template <class T>
std::array<std::pair<const T*, const char*>, 7> named_vectors(const QConv2dInputs<T>& i) {
  return {{{i.gain, "gain"},
           {i.shift, "shift"},
           {i.slope, "slope"},
           {i.post_gain, "post_gain"},
           {i.post_shift, "post_shift"},
           {i.second_gain, "second_gain"},
           {i.second_shift, "second_shift"}}};
}

// conv2d's own rules; a matrix is a convolution of images of one pixel.
Shape out_shape(const Shape& x, const Shape& w, Attrs* attrs) {
  if (x.rank() == 2 && w.rank() == 2) return {out_shape({x[0], 1, 1, x[1]}, {w[0], 1, 1, w[1]}, attrs)[0], w[0]};
  static const OpDef& conv = op_named("conv2d");
  return conv.infer({Meta{x}, Meta{w}}, attrs)[0].shape;
}

Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<QConv2dAttrs&>(*attrs);
  const QConv2dInputs<Meta> i(in, a);
  CHECK(i.x->dtype == Dtype::u8, "x ", str(*i.x), ": expected codes u8");
  CHECK(code_bits(i.codes->dtype), "weights ", str(*i.codes), ": expected packed codes");
  const Shape y = out_shape(i.x->shape, i.codes->shape, attrs);
  const int64_t o = y.back();
  check_vector(*i.scale, o, Dtype::f32, "scale");
  for (auto [vector, what] : named_vectors(i))
    if (vector) check_vector(*vector, o, Dtype::f32, what);
  check_vector(*i.zero, o, Dtype::i32, "zero");
  for (auto [range, bits] :
       {std::pair{i.x_range, a.x_bits}, {i.residual_range, a.residual_bits}, {i.out_range, a.out_bits}, {i.second_range, a.second_bits}})
    if (range) check_vector(*range, 2, Dtype::f32, "range"), check_code_bits(bits);
  CHECK(!a.second_bits || a.out_bits, "a second output of a layer without codes");
  if (i.residual) CHECK(i.residual->dtype == Dtype::u8 && i.residual->shape == y, "residual ", str(*i.residual), ": expected u8", y);
  Metas out{Meta{y, a.out_bits ? Dtype::u8 : Dtype::f32}};
  if (a.second_bits) out.push_back({y, Dtype::u8});
  return out;
}

// An integer layer's sums stay in i32. Codes are read only where the zeros alone do not say so.
void verify_sums(const Tensor& codes, const Tensor& zero) {
  const Shape& w = codes.shape();
  const int bits = static_cast<int>(code_bits(codes.dtype()));
  const cpu::ConvShape s{.c = w.back(), .o = w[0], .kh = w.product(1, w.rank() - 1), .kw = 1};
  int64_t far = 0;
  for (int64_t o = 0; o < s.o; ++o) far = std::max<int64_t>(far, std::abs(zero.data<int32_t>()[o]));
  if (255 * s.kh * s.c * ((1 << (bits - 1)) + far) >= int64_t{1} << 31)
    cpu::foldable_zeros(s, bits, unpack_codes(codes).data<int8_t>(), zero.data<int32_t>());
}

int64_t macs(const Metas& in, const Metas& out, Attrs*) { return out[0].numel() * in[2].shape.product(1, in[2].shape.rank()); }

void verify(const Tensors& in, Attrs* attrs) {
  auto& a = static_cast<QConv2dAttrs&>(*attrs);
  const QConv2dInputs<Tensor> i(in, a);
  for (auto [range, bits] :
       {std::pair{i.x_range, a.x_bits}, {i.residual_range, a.residual_bits}, {i.out_range, a.out_bits}, {i.second_range, a.second_bits}})
    if (range && *range) grid_of(*range, bits);
  if (*i.scale && *i.zero) verify_weight_zeros(*i.scale, *i.zero);
  if (*i.codes && *i.zero) verify_sums(*i.codes, *i.zero);
  for (auto [vector, what] : named_vectors(i))
    if (vector && *vector) verify_finite(*vector, what);
}

const OpDef& op = define<QConv2dAttrs>({.name = "qconv2d", .infer = infer, .macs = macs, .verify = verify});

}  // namespace

Tensors qconv2d(const Tensors& in, const QConv2dAttrs& a) { return apply(op, std::make_shared<QConv2dAttrs>(a), in); }

}  // namespace vitrine::quant
