// The kernels of the operators that these stand for, one behind the other and in place: equal bits by construction.
#include "quant/ops/norm_chain.h"

#include "engine/cuda/launch.cuh"
#include "engine/ops/batch_norm.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/observe.h"

namespace vitrine::quant {
namespace {

using cuda::ptr;

void launch(const char* op, Attrs* attrs, const Tensors& in, Tensors out) {
  op_named(op).kernel[static_cast<int>(Device::cuda)]({in, out, attrs});
}

template <bool prelu>
void run(const Call& call) {
  auto& a = call.as<NormChainAttrs>();
  const Tensors &in = call.in, &out = call.out;
  BatchNormTrainAttrs norm;
  norm.eps = a.eps, norm.momentum = a.momentum;
  launch("batch_norm_train", &norm, {in[0], in[1], in[2], in[3], in[4]}, {out[0], out[1], out[2], out[3], out[4]});
  launch(prelu ? "prelu" : "add", nullptr, {out[0], in[5]}, {out[0]});
  if (!a.bits) return;
  ObserveAttrs minmax;
  FakeQuantAttrs quantizer;
  quantizer.bits = a.bits;
  if (a.observed) launch("observe", &minmax, {out[0], in[6]}, {out[5]});
  launch("fake_quant", &quantizer, {out[0], a.observed ? out[5] : in[6]}, {out[0]});
}

// u = batch_norm_train(x) from the statistics; then back through prelu, then through the BatchNorm.
template <class T>
void gradient(const Call& call) {
  const Tensors &in = call.in, &out = call.out;  // g, x, gamma, beta, mean, rstd, slope; dx, dgamma, dbeta, dslope
  const int64_t c = in[1].shape().back();
  const T *x = ptr<T>(in[1]), *gamma = ptr<T>(in[2]), *beta = ptr<T>(in[3]), *mean = ptr<T>(in[4]), *rstd = ptr<T>(in[5]);
  const Tensor normalized = cuda::scratch<T>(in[1].shape());
  T* u = ptr<T>(normalized);
  cuda::each(in[1].numel(), [=] __device__(int64_t i) {
    const int64_t k = i % c;
    u[i] = (x[i] - mean[k]) * (gamma[k] * rstd[k]) + beta[k];
  });
  launch("prelu_grad", nullptr, {normalized, in[6], in[0]}, {out[0], out[3]});
  launch("batch_norm_grad", nullptr, {out[0], in[1], in[2], in[4], in[5]}, {out[0], out[1], out[2]});
}

KernelFor prelu_kernel("batch_norm_prelu", Device::cuda, run<true>);
KernelFor add_kernel("batch_norm_add", Device::cuda, run<false>);
KernelFor grad_kernel("batch_norm_prelu_grad", Device::cuda,
                      [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { gradient<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine::quant
