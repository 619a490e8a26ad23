// The arithmetic and the orders of templates_cpu.cc: the bits are the same.
#include <algorithm>

#include "engine/ops/templates.h"

#include "engine/core/chains.h"
#include "engine/cuda/block.cuh"

namespace vitrine {
namespace {

using cuda::checked, cuda::each, cuda::Fault, cuda::ptr;

// A thread for each number of each template.
void pool(const Call& c) {
  auto& a = c.as<PoolFacesAttrs>();
  const bool keep_norm = a.keep_norm, detector = a.detector;
  const int64_t rows = c.in[0].shape()[0], dim = c.in[0].shape()[1], faces = c.in[2].numel(), media = c.in[3].numel();
  const float *x = ptr<float>(c.in[0]), *score = ptr<float>(c.in[1]);
  const int64_t *face = ptr<int64_t>(c.in[2]), *medium = ptr<int64_t>(c.in[3]), *first = ptr<int64_t>(c.in[4]);
  double* y = ptr<double>(c.out[0]);
  Fault* fault = cuda::fault();
  Tensor lengths = cuda::scratch<float>({rows});
  float* length = ptr<float>(lengths);
  each(rows, [=] __device__(int64_t r) {
    double squares = 0;
    for (int64_t i = 0; i < dim && !keep_norm; ++i) squares += static_cast<double>(x[r * dim + i]) * static_cast<double>(x[r * dim + i]);
    length[r] = squares > 0 ? static_cast<float>(::sqrt(squares)) : 1;
  });
  each(c.out[0].numel(), [=] __device__(int64_t job) {
    const int64_t t = job / dim, i = job % dim, end = checked(first[t + 1], media, Fault::gather, fault);
    double sum = 0;
    for (int64_t m = checked(first[t], media, Fault::gather, fault); m < end; ++m) {
      const int64_t from = checked(medium[m], faces + 1, Fault::gather, fault),
                    to = checked(medium[m + 1], faces + 1, Fault::gather, fault);
      double mean = 0;
      for (int64_t f = from; f < to; ++f) {
        const int64_t r = checked(face[f], rows, Fault::gather, fault);
        mean += static_cast<double>(x[r * dim + i] / length[r] * (detector ? score[r] : 1.0f));
      }
      sum += mean / static_cast<double>(to - from);
    }
    y[job] = sum;
  });
}
KernelFor pool_kernel("pool_faces", Device::cuda, pool);

// Eight lanes to a pair, a chain each: they read 64 bytes side by side. A lane asks for its next numbers together, before it needs the
// first: rows lie anywhere, so the time is that of waiting for memory.
constexpr int kTogether = 4;
__device__ double chain_of(const double* a, const double* b, int64_t dim, int lane) {
  double sum = 0;
  int64_t k = lane;
  for (; k + (kTogether - 1) * kChains < dim; k += kTogether * kChains) {
    double u[kTogether], v[kTogether];
    VITRINE_UNROLL
    for (int j = 0; j < kTogether; ++j) u[j] = a[k + j * kChains], v[j] = b[k + j * kChains];
    VITRINE_UNROLL
    for (int j = 0; j < kTogether; ++j) sum += u[j] * v[j];
  }
  for (; k < dim; k += kChains) sum += a[k] * b[k];
  return sum;
}

__global__ void dots_kernel(int64_t pairs, int64_t rows, int64_t dim, const double* x, const int32_t* pair, double* y, Fault* fault) {
  const int lane = threadIdx.x % kChains;
  const int64_t step = int64_t{gridDim.x} * cuda::kBlock / kChains, rounds = (pairs + step - 1) / step;
  for (int64_t round = 0; round < rounds; ++round) {  // all lanes of a warp go as often: they meet below
    const int64_t p = round * step + (int64_t{blockIdx.x} * cuda::kBlock + threadIdx.x) / kChains;
    double sum = 0;
    if (p < pairs) {
      const int64_t a = checked(pair[2 * p] & kRowBits, rows, Fault::gather, fault),
                    b = checked(pair[2 * p + 1] & kRowBits, rows, Fault::gather, fault);
      sum = chain_of(x + a * dim, x + b * dim, dim, lane);
    }
    for (int bit = 1; bit < kChains; bit *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bit);
    if (p < pairs && lane == 0) y[p] = sum;
  }
}
KernelFor dots("pair_dots", Device::cuda, [](const Call& c) {
  const int64_t pairs = c.out[0].numel(), rows = c.in[0].shape()[0];
  if (pairs == 0) return;
  const int64_t blocks = std::min((pairs * kChains + cuda::kBlock - 1) / cuda::kBlock, cuda::kMostBlocks);
  LAUNCH(dots_kernel, static_cast<unsigned>(blocks), cuda::kBlock, pairs, rows, c.in[0].shape()[1], ptr<double>(c.in[0]),
         ptr<int32_t>(c.in[1]), ptr<double>(c.out[0]), cuda::fault());
});

}  // namespace
}  // namespace vitrine
