#include "quant/format.h"

#include <algorithm>
#include <cmath>

#include "engine/cpu/loops.h"
#include "engine/cpu/qconv.h"
#include "quant/ops/loops.h"

namespace vitrine::quant {
namespace {

constexpr Dtype kCodes[] = {Dtype::u2, Dtype::u3, Dtype::u4, Dtype::u5, Dtype::u6, Dtype::u7, Dtype::u8};

void pack_row(const float* w, int8_t* q, int64_t n, const FakeQuantWeightAttrs& a, float* scale, int32_t* zero, const std::string& where) {
  for (int64_t i = 0; i < n; ++i) CHECK(std::isfinite(w[i]), where, "weight ", i, " is ", w[i], ", expected a number");
  std::vector<float> spare(n);
  const QuantParams p = row_params(w, spare.data(), n, a);
  if (std::abs(p.zp) < cpu::kQZeroLimit) {
    for (int64_t i = 0; i < n; ++i) q[i] = static_cast<int8_t>(quantize_code(w[i], p));
    *scale = p.scale, *zero = static_cast<int32_t>(p.zp);
    return;
  }
  float lo = w[0], hi = w[0];
  extremes(w, n, &lo, &hi);
  *scale = 1 / dequantize(quantize_code(lo, p), p), *zero = 1;
  CHECK(lo == hi && std::isfinite(*scale), where, "weights between ", lo, " and ", hi, " cannot be codes with a zero point below ",
        cpu::kQZeroLimit);
  std::fill(q, q + n, int8_t{0});
}

}  // namespace

Dtype code_dtype(int64_t bits) {
  CHECK(bits >= 2 && bits <= 8, bits, "-bit codes cannot be packed: expected 2 to 8 bits");
  return kCodes[bits - 2];
}

int64_t code_bits(Dtype d) {
  for (int64_t bits = 2; bits <= 8; ++bits)
    if (kCodes[bits - 2] == d) return bits;
  return 0;
}

Tensor pack_codes(const Tensor& q, int64_t bits) {
  Tensor packed = Tensor::empty({q.shape(), code_dtype(bits), Device::cpu});
  const int8_t* from = q.data<int8_t>();
  auto* to = static_cast<uint8_t*>(packed.raw());
  const int half = 1 << (bits - 1);
  uint32_t stream = 0;
  int64_t held = 0;
  for (int64_t i = 0; i < q.numel(); ++i) {
    CHECK(from[i] >= -half && from[i] < half, "code ", int{from[i]}, " at ", i, ": expected ", bits, " bits");
    stream |= static_cast<uint32_t>(from[i] + half) << held;
    for (held += bits; held >= 8; held -= 8, stream >>= 8) *to++ = static_cast<uint8_t>(stream);
  }
  if (held) *to = static_cast<uint8_t>(stream);
  return packed;
}

Tensor unpack_codes(const Tensor& packed) {
  const int64_t bits = code_bits(packed.dtype());
  CHECK(bits, str(packed.meta()), ": expected packed codes");
  Tensor q = Tensor::empty({packed.shape(), Dtype::i8, Device::cpu});
  auto* from = static_cast<const uint8_t*>(packed.raw());
  int8_t* to = q.data<int8_t>();
  const int half = 1 << (bits - 1), mask = 2 * half - 1;
  uint32_t stream = 0;
  int64_t held = 0;
  for (int64_t i = 0; i < q.numel(); ++i, held -= bits, stream >>= bits) {
    if (held < bits) stream |= uint32_t{*from++} << held, held += 8;
    to[i] = static_cast<int8_t>(static_cast<int>(stream & mask) - half);
  }
  return q;
}

PackedWeights pack_weights(const Tensor& w, const FakeQuantWeightAttrs& a, const std::string& name) {
  CHECK(a.per_channel, name, ": one range for all weights, expected one per output channel");
  const int64_t rows = w.shape()[0], n = rows ? w.numel() / rows : 0;
  PackedWeights p{Tensor(), Tensor::zeros({rows}), Tensor::zeros({rows}, Dtype::i32)};
  Tensor q = Tensor::zeros(w.shape(), Dtype::i8);
  parallel_for(n ? rows : 0, cpu::row_grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      pack_row(w.data<float>() + r * n, q.data<int8_t>() + r * n, n, a, p.scale.data<float>() + r, p.zero.data<int32_t>() + r,
               cat(name, ": output ", r, ": "));
  });
  p.codes = pack_codes(q, a.bits);
  return p;
}

void unpack_weights(const PackedWeights& p, float* w) {
  Tensor q = unpack_codes(p.codes);
  const int8_t* code = q.data<int8_t>();
  const int64_t rows = q.shape()[0], n = rows ? q.numel() / rows : 0;
  parallel_for(n ? rows : 0, cpu::row_grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int32_t zero = p.zero.data<int32_t>()[r];
      const float scale = p.scale.data<float>()[r];
      for (int64_t i = r * n; i < (r + 1) * n; ++i) w[i] = static_cast<float>(code[i] + zero) / scale;
    }
  });
}

}  // namespace vitrine::quant
