#include "engine/core/bf16.h"
#include "engine/cuda/launch.cuh"

namespace vitrine {
namespace {

template <class T>
void round(const Call& c) {
  const T* x = cuda::ptr<T>(c.in[0]);
  cuda::fill(static_cast<uint16_t*>(c.out[0].raw()), c.in[0].numel(),
             [=] __device__(int64_t i) { return to_bf16(static_cast<float>(x[i])); });
}
KernelFor kernel("round_bf16", Device::cuda, [](const Call& c) { by_float(c.in[0].dtype(), [&](auto t) { round<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
