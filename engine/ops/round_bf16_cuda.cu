#include "engine/core/bf16.h"
#include "engine/cuda/launch.cuh"

namespace vitrine {
namespace {

KernelFor kernel("round_bf16", Device::cuda, [](const Call& c) {
  by_float(c.in[0].dtype(), [&](auto t) {
    const auto* x = cuda::ptr<decltype(t)>(c.in[0]);
    cuda::fill(static_cast<uint16_t*>(c.out[0].raw()), c.in[0].numel(),
               [=] __device__(int64_t i) { return to_bf16(static_cast<float>(x[i])); });
  });
});

}  // namespace
}  // namespace vitrine
