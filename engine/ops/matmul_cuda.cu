// cuBLAS where it is; our own tiled product where it is not, with the bits of the cpu (engine/cpu/matmul.h).
#include <algorithm>

#include "engine/ops/matmul.h"

#include "engine/cuda/contract.cuh"
#include "engine/cuda/library.h"

namespace vitrine {
namespace {

using cuda::Matrix, cuda::ptr;

template <class T>
void matmul(const Call& call) {
  const Tensor &a = call.in[0], &b = call.in[1], &c = call.out[0];
  auto& t = call.as<MatmulAttrs>();
  const int64_t m = c.shape()[0], n = c.shape()[1], k = a.shape()[t.ta ? 0 : 1];
  CHECK(std::max({m, n, k}) < int64_t{1} << 31, "matmul: on cuda every extent must be below 2^31, got ", m, "x", n, "x", k);
  if constexpr (std::is_same_v<T, float>)
    if (cuda::cublas_matmul(m, n, k, ptr<T>(a), t.ta, ptr<T>(b), t.tb, ptr<T>(c))) return;
  auto with = [&](const auto& left, const auto& right) {
    cuda::contract<T>(left, right, cuda::WholeDepth{static_cast<int>(k)}, 1, m, n, ptr<T>(c));
  };
  const Matrix<T, true> rows_a{ptr<T>(a), k, 1}, rows_b{ptr<T>(b), k, 1};
  const Matrix<T, false> columns_a{ptr<T>(a), 1, m}, columns_b{ptr<T>(b), 1, n};
  if (t.ta && t.tb) return with(columns_a, rows_b);
  if (t.ta) return with(columns_a, columns_b);
  if (t.tb) return with(rows_a, rows_b);
  with(rows_a, columns_b);
}
KernelFor kernel("matmul", Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { matmul<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
