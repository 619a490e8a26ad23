#include "engine/cuda/launch.cuh"
#include "engine/ops/sgd.h"

namespace vitrine {
namespace {

using cuda::ptr;

template <class T>
void step(const Call& c) {
  auto& a = c.as<SgdAttrs>();
  const T *w = ptr<T>(c.in[0]), *g = ptr<T>(c.in[1]), *v = ptr<T>(c.in[2]);
  T *w2 = ptr<T>(c.out[0]), *v2 = ptr<T>(c.out[1]);
  const T lr = T(a.lr), momentum = T(a.momentum), decay = T(a.weight_decay), scale = T(a.scale);
  const bool first = a.first, nesterov = a.nesterov;
  cuda::each(c.out[0].numel(), [=] __device__(int64_t i) {
    const T gradient = scale * g[i] + decay * w[i];
    const T velocity = first ? gradient : momentum * v[i] + gradient;
    v2[i] = velocity;
    w2[i] = w[i] - lr * (nesterov ? gradient + momentum * velocity : velocity);
  });
}
KernelFor kernel("sgd_step", Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { step<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
