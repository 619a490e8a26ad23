// Batch normalization per channel (Ioffe & Szegedy 2015): with given statistics, with the batch's own, and the gradient of the latter.
#include "engine/ops/batch_norm.h"

#include "engine/ops.h"
#include "engine/ops/shapes.h"
#include "engine/ops/ties.h"

namespace vitrine {
namespace {

void check_inputs(const Metas& in, size_t first) {
  check_float(in, 5, first);
  for (int i = 1; i < 5; ++i) check_channels(in[0], in[i], "per-channel input");
}

Metas infer(const Metas& in, Attrs*) {
  check_inputs(in, 0);
  return {in[0]};
}

Metas train_infer(const Metas& in, Attrs* a) {
  check_inputs(in, 1);
  const Dtype y = static_cast<BatchNormTrainAttrs*>(a)->rounded ? Dtype::bf16 : in[1].dtype;
  return {{in[0].shape, y, in[0].device}, in[1], in[1], in[1], in[1]};
}

Metas grad_infer(const Metas& in, Attrs*) {
  check_float(in, 5, 2);  // g, x, gamma, mean, rstd
  CHECK(in[0].shape == in[1].shape, "gradient ", in[0].shape, " of ", in[1].shape);
  for (int i = 2; i < 5; ++i) check_channels(in[0], in[i], "per-channel input");
  return {in[1], in[2], in[2]};
}

const OpDef& grad_op = define({.name = "batch_norm_grad", .infer = grad_infer});

Tensors train_backward(const Back& b) {
  for (int i = 1; i < 5; ++i) CHECK(!b.grad[i], "batch_norm_train: no gradient through the statistics");
  if (!b.grad[0]) return Tensors(5);
  auto d = apply(grad_op, {}, {b.grad[0], b.in[0], b.in[1], b.out[1], b.out[2]});
  return {d[0], d[1], d[2], {}, {}};
}

// y = (x - mean) * gamma * rstd + beta as a function of all five inputs.
Tensors backward(const Back& b) {
  const Tensor &x = b.in[0], &gamma = b.in[1], &mean = b.in[3], &var = b.in[4], &g = b.grad[0];
  const Shape& c = gamma.shape();
  Tensor rstd = div(Tensor::full({1}, 1, x.dtype()).to(x.device()), sqrt(add_scalar(var, b.as<BatchNormAttrs>().eps)));
  Tensor scale = mul(gamma, rstd), xhat = b.needs(1) || b.needs(4) ? mul(sub(x, mean), rstd) : Tensor{};
  Tensor dgamma = xhat ? sum_to(mul(g, xhat), c) : Tensor{}, dbeta = b.needs(2) || b.needs(3) ? sum_to(g, c) : Tensor{};
  return {b.needs(0) ? mul(g, scale) : Tensor{}, dgamma, dbeta, b.needs(3) ? mul_scalar(mul(dbeta, scale), -1) : Tensor{},
          b.needs(4) ? mul_scalar(mul(mul(dgamma, gamma), square(rstd)), -0.5) : Tensor{}};
}

const OpDef& op = define<BatchNormAttrs>({.name = "batch_norm", .infer = infer, .backward = backward, .ties = tie_elementwise});
const OpDef& train_op = define<BatchNormTrainAttrs>({
    .name = "batch_norm_train",
    .infer = train_infer,
    .backward = train_backward,
    .saves_in = 0b11,    // x, gamma
    .saves_out = 0b110,  // mean, rstd
});

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& mean, const Tensor& var, double eps) {
  auto a = std::make_shared<BatchNormAttrs>();
  a->eps = eps;
  return apply1(op, a, {x, gamma, beta, mean, var});
}

BatchNormTrain batch_norm_train(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                                const Tensor& running_var, double eps, double momentum) {
  auto a = std::make_shared<BatchNormTrainAttrs>();
  a->eps = eps, a->momentum = momentum;
  auto out = apply(train_op, a, {x, gamma, beta, running_mean, running_var});
  return {out[0], out[1], out[2], out[3], out[4]};
}

}  // namespace vitrine
