#include "engine/core/by_float.h"
#include "engine/core/op.h"
#include "engine/core/parallel.h"

namespace vitrine {
namespace {

template <class X, class Y>
void run(const Call& c) {
  const auto* x = static_cast<const X*>(c.in[0].raw());
  auto* y = static_cast<Y*>(c.out[0].raw());
  parallel_for(c.in[0].numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = static_cast<Y>(x[i]);
  });
}
KernelFor kernel("cast", Device::cpu, [](const Call& c) {
  by_real(c.in[0].dtype(), [&](auto x) { by_real(c.out[0].dtype(), [&](auto y) { run<decltype(x), decltype(y)>(c); }); });
});

}  // namespace
}  // namespace vitrine
