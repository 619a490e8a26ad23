#include "engine/core/rng.h"
#include "engine/cuda/launch.cuh"
#include "engine/ops/dropout.h"

namespace vitrine {
namespace {

using cuda::each, cuda::ptr;

__device__ uint32_t low(int64_t v) { return static_cast<uint32_t>(v); }
__device__ uint32_t high(int64_t v) { return static_cast<uint32_t>(static_cast<uint64_t>(v) >> 32); }

// Element i takes word i % 4 of Philox block i / 4 of the step's stream and is dropped where that is below p * 2^32.
template <class T>
void dropout(const Call& c) {
  auto& a = c.as<DropoutAttrs>();
  const int64_t n = c.in[0].numel(), seed = a.seed, advance = a.advance, *before = ptr<int64_t>(c.in[1]);
  int64_t* after = ptr<int64_t>(c.out[1]);
  const double limit = a.p * 0x1p32;
  const T *x = ptr<T>(c.in[0]), kept = T(1 / (1 - a.p));
  T* y = ptr<T>(c.out[0]);
  each(1, [=] __device__(int64_t) { *after = *before + advance; });
  each((n + 3) / 4, [=] __device__(int64_t block) {
    const int64_t step = *before + advance;
    const auto word = philox({low(block), high(block), low(step), high(step)}, {low(seed), high(seed)});
    for (int k = 0; k < 4 && 4 * block + k < n; ++k) y[4 * block + k] = word[k] < limit ? T(0) : x[4 * block + k] * kept;
  });
}
KernelFor kernel("dropout", Device::cuda, [](const Call& c) { by_float(c.in[0].dtype(), [&](auto t) { dropout<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
