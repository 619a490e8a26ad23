#include "engine/cpu/matmul.h"

#include "engine/ops/matmul.h"

namespace vitrine {
namespace {

void kernel(const Call& call) {
  const Tensor &a = call.in[0], &b = call.in[1], &c = call.out[0];
  auto& t = call.as<MatmulAttrs>();
  int64_t m = c.shape()[0], n = c.shape()[1], k = a.shape()[t.ta ? 0 : 1];
  if (a.dtype() == Dtype::f32)
    cpu::matmul(m, n, k, a.data<float>(), t.ta, b.data<float>(), t.tb, c.data<float>());
  else
    cpu::matmul(m, n, k, a.data<double>(), t.ta, b.data<double>(), t.tb, c.data<double>());
}

const KernelFor matmul_cpu("matmul", Device::cpu, kernel);

}  // namespace
}  // namespace vitrine
