#include "quant/ops/quantize.h"

#include <cmath>

#include "engine/cpu/qconv.h"
#include "quant/format.h"

namespace vitrine::quant {
namespace {

void check_range_of(const Meta& m) { check_vector(m, 2, Dtype::f32, "range"); }

Metas quantize_infer(const Metas& in, Attrs* attrs) {
  CHECK(in.size() == 2 && in[0].dtype == Dtype::f32, "expected x f32 and its range");
  check_range_of(in[1]);
  check_code_bits(static_cast<FakeQuantAttrs&>(*attrs).bits);
  return {Meta{in[0].shape, Dtype::u8}};
}

Metas dequantize_infer(const Metas& in, Attrs* attrs) {
  CHECK(in.size() == 2 && in[0].dtype == Dtype::u8, "expected codes u8 and their range");
  check_range_of(in[1]);
  check_code_bits(static_cast<FakeQuantAttrs&>(*attrs).bits);
  return {Meta{in[0].shape, Dtype::f32}};
}

Metas weight_infer(const Metas& in, Attrs*) {
  CHECK(in.size() == 3 && code_bits(in[0].dtype) && in[0].shape.rank() >= 1, "expected packed codes [O,...], scale and zero");
  check_vector(in[1], in[0].shape[0], Dtype::f32, "scale");
  check_vector(in[2], in[0].shape[0], Dtype::i32, "zero");
  return {Meta{in[0].shape, Dtype::f32}};
}

void verify_grid(const Tensors& in, Attrs* attrs) {
  if (in[1]) grid_of(in[1], static_cast<FakeQuantAttrs&>(*attrs).bits);
}
void verify_weight(const Tensors& in, Attrs*) {
  if (in[1] && in[2]) verify_weight_zeros(in[1], in[2]);
}

const OpDef& quantize_op = define<FakeQuantAttrs>({.name = "quantize", .infer = quantize_infer, .verify = verify_grid});
const OpDef& dequantize_op = define<FakeQuantAttrs>({.name = "dequantize", .infer = dequantize_infer, .verify = verify_grid});
const OpDef& weight_op = define({.name = "dequantize_weight", .infer = weight_infer, .verify = verify_weight});

AttrsPtr with_bits(int64_t bits) {
  auto a = std::make_shared<FakeQuantAttrs>();
  a->bits = bits;
  return a;
}

}  // namespace

void check_code_bits(int64_t bits) { CHECK(bits >= 2 && bits <= 8, bits, " bits: stored codes have 2 to 8"); }

void check_vector(const Meta& m, int64_t n, Dtype d, const char* what) {
  CHECK(m.dtype == d && m.shape == Shape({n}), what, " ", str(m), ": expected ", str(Meta{{n}, d}));
}

void verify_weight_zeros(const Tensor& scale, const Tensor& zero) {
  for (int64_t o = 0; o < scale.numel(); ++o) {
    const float s = scale.data<float>()[o];
    const int32_t z = zero.data<int32_t>()[o];
    CHECK(std::isfinite(s) && s != 0, "scale of weights ", s, " at ", o, ": expected a finite number that is not 0");
    CHECK(z > -cpu::kQZeroLimit && z < cpu::kQZeroLimit, "zero of weights ", z, " at ", o, ": expected a magnitude below ",
          cpu::kQZeroLimit);
  }
}

void verify_finite(const Tensor& t, const char* what) {
  for (int64_t i = 0; i < t.numel(); ++i)
    CHECK(std::isfinite(t.data<float>()[i]), what, " ", t.data<float>()[i], " at ", i, ": expected a finite number");
}

Grid grid_of(const Tensor& range, int64_t bits) {
  const float lo = range.data<float>()[0], hi = range.data<float>()[1];
  CHECK(lo <= 0 && hi >= 0 && std::isfinite(hi - lo), "range [", lo, ",", hi, "]: expected finite ends round 0");
  return grid_of(quant_params(lo, hi, bits));
}

Tensor quantize(const Tensor& x, const Tensor& range, int64_t bits) { return apply1(quantize_op, with_bits(bits), {x, range}); }
Tensor dequantize(const Tensor& codes, const Tensor& range, int64_t bits) { return apply1(dequantize_op, with_bits(bits), {codes, range}); }
Tensor dequantize_weight(const Tensor& codes, const Tensor& scale, const Tensor& zero) {
  return apply1(weight_op, {}, {codes, scale, zero});
}

}  // namespace vitrine::quant
