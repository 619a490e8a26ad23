// The codes and values of the cpu, bit for bit (built with -fmad=false). Ranges are read on the device.
#include "quant/ops/quantize.h"

#include "engine/cuda/launch.cuh"
#include "quant/format.h"

namespace vitrine::quant {
namespace {

using cuda::each, cuda::Fault, cuda::ptr;

__device__ QuantParams params(const float* range, int64_t bits, Fault* fault) {
  const float lo = range[0], hi = range[1];
  if (!(lo <= 0 && hi >= 0 && hi - lo < INFINITY)) fault->what = Fault::range;
  return quant_params(lo, hi, bits);
}

void to_codes(const Call& c) {
  const float *x = ptr<float>(c.in[0]), *range = ptr<float>(c.in[1]);
  auto* y = ptr<uint8_t>(c.out[0]);
  const int64_t bits = c.as<FakeQuantAttrs>().bits;
  Fault* fault = cuda::fault();
  each(c.in[0].numel(), [=] __device__(int64_t i) {
    const QuantParams p = params(range, bits, fault);
    float v = p.scale * x[i] - p.zp;
    v = v > p.low ? v : p.low;  // also NaN
    v = v > p.high ? p.high : v;
    y[i] = static_cast<uint8_t>(::rintf(v) - p.low);
  });
}

void from_codes(const Call& c) {
  const auto* code = ptr<uint8_t>(c.in[0]);
  const auto* range = ptr<float>(c.in[1]);
  auto* y = ptr<float>(c.out[0]);
  const int64_t bits = c.as<FakeQuantAttrs>().bits;
  Fault* fault = cuda::fault();
  each(c.in[0].numel(), [=] __device__(int64_t i) {
    const Grid g = grid_of(params(range, bits, fault));
    y[i] = static_cast<float>(code[i] - g.zero) / g.scale;
  });
}

// Codes as format.h packs them. One of at most 8 bits lies in one byte or in two.
void from_weights(const Call& c) {
  const int64_t bits = code_bits(c.in[0].dtype()), n = c.out[0].numel(), each_row = n ? n / c.out[0].shape()[0] : 1;
  const auto* bytes = static_cast<const uint8_t*>(c.in[0].raw());
  const auto* scale = ptr<float>(c.in[1]);
  const auto* zero = ptr<int32_t>(c.in[2]);
  auto* w = ptr<float>(c.out[0]);
  each(n, [=] __device__(int64_t i) {
    const int64_t at = i * bits / 8, shift = i * bits % 8, row = i / each_row;
    const int pair = bytes[at] | (shift + bits > 8 ? bytes[at + 1] << 8 : 0), half = 1 << (bits - 1);
    w[i] = static_cast<float>((pair >> shift & (2 * half - 1)) - half + zero[row]) / scale[row];
  });
}

KernelFor quantize_kernel("quantize", Device::cuda, to_codes);
KernelFor dequantize_kernel("dequantize", Device::cuda, from_codes);
KernelFor weight_kernel("dequantize_weight", Device::cuda, from_weights);

}  // namespace
}  // namespace vitrine::quant
