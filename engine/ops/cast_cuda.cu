#include "engine/cuda/launch.cuh"

namespace vitrine {
namespace {

template <class X, class Y>
void run(const Call& c) {
  const X* x = cuda::ptr<X>(c.in[0]);
  cuda::fill(cuda::ptr<Y>(c.out[0]), c.in[0].numel(), [=] __device__(int64_t i) { return static_cast<Y>(x[i]); });
}
KernelFor kernel("cast", Device::cuda, [](const Call& c) {
  by_real(c.in[0].dtype(), [&](auto x) { by_real(c.out[0].dtype(), [&](auto y) { run<decltype(x), decltype(y)>(c); }); });
});

}  // namespace
}  // namespace vitrine
