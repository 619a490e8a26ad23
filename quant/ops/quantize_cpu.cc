#include "quant/ops/quantize.h"

#include "engine/cpu/loops.h"
#include "quant/format.h"

namespace vitrine::quant {
namespace {

constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding and taking it away is rint() for |v| <= 2^22

VITRINE_CLONES void to_codes(const float* __restrict x, uint8_t* __restrict y, int64_t n, float scale, float zp, float low, float high) {
  for (int64_t i = 0; i < n; ++i) {
    float v = scale * x[i] - zp;
    v = v > low ? v : low;
    v = v > high ? high : v;
    y[i] = static_cast<uint8_t>(static_cast<int32_t>((v + kRound) - kRound - low));
  }
}

KernelFor quantize_kernel("quantize", Device::cpu, [](const Call& c) {
  const int64_t bits = c.as<FakeQuantAttrs>().bits;
  grid_of(c.in[1], bits);
  const QuantParams p = quant_params(c.in[1].data<float>()[0], c.in[1].data<float>()[1], bits);
  parallel_for(c.in[0].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
    to_codes(c.in[0].data<float>() + begin, c.out[0].data<uint8_t>() + begin, end - begin, p.scale, p.zp, p.low, p.high);
  });
});

KernelFor dequantize_kernel("dequantize", Device::cpu, [](const Call& c) {
  const Grid g = grid_of(c.in[1], c.as<FakeQuantAttrs>().bits);
  float value[256];
  for (int code = 0; code < 256; ++code) value[code] = static_cast<float>(code - g.zero) / g.scale;
  parallel_for(c.in[0].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) c.out[0].data<float>()[i] = value[c.in[0].data<uint8_t>()[i]];
  });
});

KernelFor weight_kernel("dequantize_weight", Device::cpu, [](const Call& c) {
  unpack_weights({c.in[0], c.in[1], c.in[2]}, c.out[0].data<float>());
});

}  // namespace
}  // namespace vitrine::quant
