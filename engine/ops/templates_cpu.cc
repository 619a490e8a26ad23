#include "engine/ops/templates.h"

#include <algorithm>
#include <cmath>

#include "engine/core/chains.h"
#include "engine/cpu/loops.h"

namespace vitrine {
namespace {

// list[i] for i in [0, n), each in [0, limit]; Error for another.
const int64_t* checked_list(const Tensor& list, int64_t limit, const char* what) {
  const auto* v = list.data<int64_t>();
  for (int64_t i = 0; i < list.numel(); ++i) CHECK(v[i] >= 0 && v[i] <= limit, "pool_faces: ", what, " ", v[i], ": expected 0 to ", limit);
  return v;
}

float length_of(const float* x, int64_t n) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return squares > 0 ? static_cast<float>(std::sqrt(squares)) : 1;
}

KernelFor pool_kernel("pool_faces", Device::cpu, [](const Call& c) {
  auto& a = c.as<PoolFacesAttrs>();
  const int64_t dim = c.in[0].shape()[1];
  const float *x = c.in[0].data<float>(), *score = c.in[1].data<float>();
  const int64_t* face = checked_list(c.in[2], c.in[0].shape()[0] - 1, "face");
  const int64_t* medium = checked_list(c.in[3], c.in[2].numel(), "medium at");
  const int64_t* first = checked_list(c.in[4], c.in[3].numel() - 1, "template at");
  double* y = c.out[0].data<double>();
  parallel_for(c.out[0].shape()[0], 1, [&](int64_t begin, int64_t end) {
    std::vector<double> mean(dim);
    std::fill(y + begin * dim, y + end * dim, 0.0);
    for (int64_t t = begin; t < end; ++t)
      for (int64_t m = first[t]; m < first[t + 1]; ++m) {
        std::fill(mean.begin(), mean.end(), 0.0);
        for (int64_t f = medium[m]; f < medium[m + 1]; ++f) {
          const float *row = x + face[f] * dim, length = a.keep_norm ? 1 : length_of(row, dim), weight = a.detector ? score[face[f]] : 1;
          for (int64_t i = 0; i < dim; ++i) mean[i] += static_cast<double>(row[i] / length * weight);
        }
        for (int64_t i = 0; i < dim; ++i) y[t * dim + i] += mean[i] / static_cast<double>(medium[m + 1] - medium[m]);
      }
  });
});

KernelFor dots_kernel("pair_dots", Device::cpu, [](const Call& c) {
  const int64_t rows = c.in[0].shape()[0], dim = c.in[0].shape()[1];
  const double* x = c.in[0].data<double>();
  const auto* pair = c.in[1].data<int32_t>();
  double* y = c.out[0].data<double>();
  const auto row = [=](int64_t i) { return int64_t{pair[i] & kRowBits}; };
  for (int64_t i = 0; i < c.in[1].numel(); ++i) CHECK(row(i) < rows, "pair_dots: row ", row(i), ": expected 0 to ", rows - 1);
  parallel_for(c.out[0].numel(), cpu::row_grain(dim), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = dot_in_chains(x + row(2 * i) * dim, x + row(2 * i + 1) * dim, dim);
  });
});

}  // namespace
}  // namespace vitrine
