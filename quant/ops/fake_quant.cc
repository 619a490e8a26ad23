#include "quant/ops/fake_quant.h"

namespace vitrine::quant {
void check_bits(int64_t bits) { CHECK(bits >= 2 && bits <= 16, "bits=", bits, ": expected 2 to 16"); }

void check_range(const Metas& in, size_t count) {
  CHECK(in.size() == count && in[0].dtype == in[1].dtype && (in[0].dtype == Dtype::f32 || in[0].dtype == Dtype::f64),
        "expected x and its range, f32 or f64 alike");
  CHECK(in[1].shape == Shape({2}), "range ", in[1].shape, ": expected [2], lo and hi");
}

namespace {

Metas infer(const Metas& in, Attrs* attrs) {
  check_range(in);
  check_bits(static_cast<FakeQuantAttrs&>(*attrs).bits);
  return {in[0]};
}

Metas weight_infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<FakeQuantWeightAttrs&>(*attrs);
  CHECK(in.size() == 1 && in[0].shape.rank() >= 1 && (in[0].dtype == Dtype::f32 || in[0].dtype == Dtype::f64),
        "expected one f32 or f64 tensor");
  check_bits(a.bits);
  return {in[0]};
}

Metas clip_infer(const Metas& in, Attrs*) {
  check_range(in);
  return {in[0]};
}

Metas clip_grad_infer(const Metas& in, Attrs*) {
  check_range(in, 3);
  CHECK(in[2] == in[0], "gradient ", str(in[2]), " for x ", str(in[0]));
  return {in[0]};
}

const OpDef& op = define<FakeQuantAttrs>({
    .name = "fake_quant",
    .infer = infer,
    .backward = [](const Back& b) -> Tensors {
      return {b.grad[0], {}};
    },
    .surrogate = Surrogate::identity_of_first,
    .saves_in = 0,
});
const OpDef& weight_op = define<FakeQuantWeightAttrs>({
    .name = "fake_quant_weight",
    .infer = weight_infer,
    .backward = [](const Back& b) -> Tensors { return {b.grad[0]}; },
    .surrogate = Surrogate::identity_of_first,
    .saves_in = 0,
});
const OpDef& clip_op = define({
    .name = "clip",
    .infer = clip_infer,
    .backward = [](const Back& b) -> Tensors {
      return {clip_grad(b.in[0], b.in[1], b.grad[0]), {}};
    },
});
const OpDef& clip_grad_op = define({.name = "clip_grad", .infer = clip_grad_infer});

}  // namespace

Tensor fake_quant(const Tensor& x, const Tensor& range, int64_t bits) {
  auto a = std::make_shared<FakeQuantAttrs>();
  a->bits = bits;
  return apply1(op, a, {x, range});
}

Tensor fake_quant_weight(const Tensor& w, int64_t bits, bool per_channel, bool mse) {
  auto a = std::make_shared<FakeQuantWeightAttrs>();
  a->bits = bits, a->per_channel = per_channel, a->mse = mse;
  return apply1(weight_op, a, {w});
}

Tensor clip(const Tensor& x, const Tensor& range) { return apply1(clip_op, {}, {x, range}); }
Tensor clip_grad(const Tensor& x, const Tensor& range, const Tensor& g) { return apply1(clip_grad_op, {}, {x, range, g}); }

}  // namespace vitrine::quant
