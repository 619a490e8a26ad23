// A layer of an integer model: convolution of codes with packed weights, and everything behind it up to the next stored codes. A matrix is
// the same with x [N,I] and codes [O,I]. The arithmetic, step by step and bit for bit on every back end: engine/cpu/qconv.h; here is what
// its floats are made of. For each output channel o, with f64 divisions and products rounded once to f32:
//   mult = gain / (scale of x * scale of weights)    add = shift                  BatchNorm and bias: real sum * gain + shift
//   residual_inv_scale = 1 / scale of the residual's grid (f32)
//   post_mult, post_add = post_gain, post_shift                                   a BatchNorm behind the addition
//   second_mult = second_gain / scale of y's grid    second_add = second_shift    a BatchNorm of the stored y, stored on a grid of its own
// Inputs in this order, those in brackets only where the attribute beside them is not 0:
//   x u8 [N,H,W,C]   x_range [2]   codes u2...u8 [O,kh,kw,C/groups]   scale f32 [O]   zero i32 [O]   gain [O]   shift [O]
//   [slope [O]: slope]   [residual u8 like y, residual_range [2]: residual_bits]   [post_gain [O], post_shift [O]: post]
//   [out_range [2]: out_bits]   [second_gain [O], second_shift [O], second_range [2]: second_bits]
// Outputs: y u8, or f32 where out_bits is 0; then the second.
#pragma once
#include "engine/ops/conv2d.h"

namespace vitrine::quant {

struct QConv2dAttrs : Conv2dAttrs {
  int64_t x_bits = 8, slope = 0, residual_bits = 0, post = 0, out_bits = 0, second_bits = 0;
  void visit(AttrVisitor& v) override;
};

// The inputs by name, of Metas or of Tensors; absent ones are null. Error if their number is not what the attributes say.
template <class T>
struct QConv2dInputs {
  const T *x, *x_range, *codes, *scale, *zero, *gain, *shift, *slope, *residual, *residual_range, *post_gain, *post_shift, *out_range,
      *second_gain, *second_shift, *second_range;
  QConv2dInputs(const std::vector<T>& in, const QConv2dAttrs& a) {
    const size_t expected =
        7 + (a.slope ? 1 : 0) + (a.residual_bits ? 2 : 0) + (a.post ? 2 : 0) + (a.out_bits ? 1 : 0) + (a.second_bits ? 3 : 0);
    CHECK(in.size() == expected, in.size(), " inputs, expected ", expected);
    const T* next = in.data();
    auto take = [&](bool given) { return given ? next++ : nullptr; };
    for (const T** always : {&x, &x_range, &codes, &scale, &zero, &gain, &shift}) *always = take(true);
    slope = take(a.slope);
    residual = take(a.residual_bits), residual_range = take(a.residual_bits);
    post_gain = take(a.post), post_shift = take(a.post);
    out_range = take(a.out_bits);
    second_gain = take(a.second_bits), second_shift = take(a.second_bits), second_range = take(a.second_bits);
  }
};

Tensors qconv2d(const Tensors& in, const QConv2dAttrs&);

}  // namespace vitrine::quant
