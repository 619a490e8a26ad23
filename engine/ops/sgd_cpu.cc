#include "engine/ops/sgd.h"

#include "engine/cpu/loops.h"

namespace vitrine {
namespace {

KernelFor kernel("sgd_step", Device::cpu, [](const Call& c) {
  auto& a = c.as<SgdAttrs>();
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T *w = c.in[0].data<T>(), *g = c.in[1].data<T>(), *v = c.in[2].data<T>();
    T *w2 = c.out[0].data<T>(), *v2 = c.out[1].data<T>();
    T lr = T(a.lr), momentum = T(a.momentum), decay = T(a.weight_decay), scale = T(a.scale);
    parallel_for(c.out[0].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T gradient = scale * g[i] + decay * w[i];
        T velocity = a.first ? gradient : momentum * v[i] + gradient;
        v2[i] = velocity;
        w2[i] = w[i] - lr * (a.nesterov ? gradient + momentum * velocity : velocity);
      }
    });
  });
});

}  // namespace
}  // namespace vitrine
