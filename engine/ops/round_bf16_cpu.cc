#include "engine/core/bf16.h"
#include "engine/core/by_float.h"
#include "engine/core/op.h"
#include "engine/core/parallel.h"

namespace vitrine {
namespace {

KernelFor kernel("round_bf16", Device::cpu, [](const Call& c) {
  by_float(c.in[0].dtype(), [&](auto t) {
    const auto* x = c.in[0].data<decltype(t)>();
    auto* y = static_cast<uint16_t*>(c.out[0].raw());
    parallel_for(c.in[0].numel(), 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = to_bf16(static_cast<float>(x[i]));
    });
  });
});

}  // namespace
}  // namespace vitrine
