#include "quant/ops/norm_chain.h"

#include "engine/ops.h"
#include "engine/ops/shapes.h"
#include "quant/ops/fake_quant.h"

namespace vitrine::quant {
namespace {

Metas chain_infer(const Metas& in, const NormChainAttrs& a) {
  const size_t count = a.bits ? 7 : 6;
  check_float(in, count, 1);
  for (int i = 1; i < 5; ++i) check_channels(in[0], in[i], "per-channel input");
  CHECK(a.bits || !a.observed, "observed=", a.observed, " without a quantizer");
  Metas out{in[0], in[1], in[1], in[1], in[1]};
  out[0].dtype = a.rounded ? Dtype::bf16 : in[1].dtype;
  if (!a.bits) return out;
  check_bits(a.bits);
  check_range({in[1], in[6]});
  if (a.observed) out.push_back(in[6]);
  return out;
}
Metas prelu_infer(const Metas& in, Attrs* attrs) {
  Metas out = chain_infer(in, static_cast<NormChainAttrs&>(*attrs));
  check_channels(in[0], in[5], "slope");
  return out;
}
Metas add_infer(const Metas& in, Attrs* attrs) {
  Metas out = chain_infer(in, static_cast<NormChainAttrs&>(*attrs));
  CHECK(in[0].shape == in[5].shape, "shortcut ", in[5].shape, " for ", in[0].shape);
  return out;
}

Metas prelu_grad_infer(const Metas& in, Attrs*) {
  check_float(in, 7, 2);  // g, x, gamma, beta, mean, rstd, slope
  CHECK(in[0].shape == in[1].shape, "gradient ", in[0].shape, " of ", in[1].shape);
  for (int i = 2; i < 7; ++i) check_channels(in[0], in[i], "per-channel input");
  return {in[1], in[2], in[2], in[2]};
}
const OpDef& prelu_grad_op = define({.name = "batch_norm_prelu_grad", .infer = prelu_grad_infer});

// The quantizer's gradient is the identity.
const Tensor& gradient(const Back& b) {
  for (size_t i = 1; i < b.grad.size(); ++i) CHECK(!b.grad[i], "no gradient through the statistics");
  return b.grad[0];
}
Tensors prelu_backward(const Back& b) {
  Tensors all(b.in.size());
  if (const Tensor& g = gradient(b)) {
    auto d = apply(prelu_grad_op, {}, {g, b.in[0], b.in[1], b.in[2], b.out[1], b.out[2], b.in[5]});
    all[0] = d[0], all[1] = d[1], all[2] = d[2], all[5] = d[3];
  }
  return all;
}
Tensors add_backward(const Back& b) {
  static const OpDef& grad_op = op_named("batch_norm_grad");
  Tensors all(b.in.size());
  if (const Tensor& g = gradient(b)) {
    auto d = apply(grad_op, {}, {g, b.in[0], b.in[1], b.out[1], b.out[2]});
    all[0] = d[0], all[1] = d[1], all[2] = d[2], all[5] = cast(g, b.in[5].dtype());
  }
  return all;
}

constexpr uint32_t kMeanAndRstd = 0b110;
const OpDef& prelu_op = define<NormChainAttrs>({.name = "batch_norm_prelu",
                                                .infer = prelu_infer,
                                                .backward = prelu_backward,
                                                .saves_in = 0b100111,  // x, gamma, beta, slope
                                                .saves_out = kMeanAndRstd});
const OpDef& add_op = define<NormChainAttrs>({.name = "batch_norm_add",
                                              .infer = add_infer,
                                              .backward = add_backward,
                                              .saves_in = 0b11,  // x, gamma
                                              .saves_out = kMeanAndRstd});

}  // namespace
}  // namespace vitrine::quant
