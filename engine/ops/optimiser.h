// Steps of optimisers over all parameters at once, so that a device launches a few kernels, not some for every parameter. What changes from
// step to step (rates, the clipping factor) is read from the device's memory: a recorded step (core/queue.h) can be run again. Not
// differentiable. Each operation is rounded.
#pragma once
#include "engine/core/op.h"

namespace vitrine {

struct NormAttrs : Attrs {
  double clip = 0;  // 0: none
  void visit(AttrVisitor& v) override { v("clip", clip); }
};
struct SgdAttrs : Attrs {
  double momentum = 0, weight_decay = 0;
  int64_t nesterov = 0, first = 0;  // first: velocities are not read, v = g
  void visit(AttrVisitor& v) override {
    v("momentum", momentum), v("weight_decay", weight_decay), v("nesterov", nesterov), v("first", first);
  }
};
struct AdamWAttrs : Attrs {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  int64_t first = 0;  // the averages are not read
  void visit(AttrVisitor& v) override { v("beta1", beta1), v("beta2", beta2), v("eps", eps), v("first", first); }
};

// f64 [2]: the global L2 norm of all, and the factor that clips it: clip / (norm + 1e-6) where that is below 1.
// THE ORDER: a tensor's squares (rounded to its dtype) are added in f64, in chunks of kNormChunk; a chunk in kNormChains chains, element i
// to chain i mod kNormChains, which are joined as cuda/block.cuh says; chunks in ascending order, rounded to the dtype; tensors in
// ascending order.
inline constexpr int64_t kNormChunk = 65536;
inline constexpr int kNormChains = 256;
Tensor gradient_norm(const Tensors& gradients, double clip);

// rates f64 [1]: lr. norm: of gradient_norm. parameters: w, g, v of each; results: w', v' of each.
// g = factor * g + weight_decay * w;  v' = momentum * v + g (g at the first step);  w' = w - lr * (nesterov ? g + momentum * v' : v')
Tensors sgd_step(const Tensor& rates, const Tensor& norm, const Tensors& parameters, const SgdAttrs&);
// For one parameter.
struct SgdResult {
  Tensor w, v;
};
SgdResult sgd_step(const Tensor& w, const Tensor& g, const Tensor& v, const SgdAttrs&, double lr, double factor = 1);

// rates f64 [3]: keep, rate, spread. parameters: w, g, m, s of each; results: w', m', s' of each.
// g = factor * g;  m' = beta1 * m + (1 - beta1) * g;  s' = beta2 * s + (1 - beta2) * g * g;  w' = keep * w - rate * m' / (spread * sqrt(s')
// + eps)
Tensors adamw_step(const Tensor& rates, const Tensor& norm, const Tensors& parameters, const AdamWAttrs&);

// The operator's kernel with results written into tensors that exist and may be among its inputs, whose versions go up. For the operators
// of this file alone, whose kernels read what they overwrite first.
void run_in_place(const char* op, const AttrsPtr&, const Tensors& in, Tensors out);

}  // namespace vitrine
