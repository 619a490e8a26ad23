#include <algorithm>

#include "engine/ops/dropout.h"

#include "engine/core/rng.h"
#include "engine/cpu/loops.h"

namespace vitrine {
namespace {

// Element i takes word i % 4 of Philox block i / 4 of the step's stream and is dropped where that is below p * 2^32.
KernelFor kernel("dropout", Device::cpu, [](const Call& c) {
  auto& a = c.as<DropoutAttrs>();
  int64_t step = *c.out[1].data<int64_t>() = *c.in[1].data<int64_t>() + a.advance;
  double limit = a.p * 0x1p32;
  auto low = [](int64_t v) { return static_cast<uint32_t>(v); };
  auto high = [](int64_t v) { return static_cast<uint32_t>(static_cast<uint64_t>(v) >> 32); };
  cpu::by_float(c.in[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T* x = c.in[0].data<T>();
    T *y = c.out[0].data<T>(), kept = T(1 / (1 - a.p));
    int64_t n = c.in[0].numel();
    parallel_for((n + 3) / 4, cpu::kGrain / 4, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        auto word = philox({low(block), high(block), low(step), high(step)}, {low(a.seed), high(a.seed)});
        for (int64_t i = 4 * block; i < std::min(n, 4 * block + 4); ++i) y[i] = word[i % 4] < limit ? T(0) : x[i] * kept;
      }
    });
  });
});

}  // namespace
}  // namespace vitrine
