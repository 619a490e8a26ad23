// Packed codes, bit by bit: how weights of 2 to 8 bits lie in a model file and in a tensor of dtype u2 ... u8.
//
//   n codes of b bits are one little-endian stream of bits: bit j of code i is bit (i b + j) of the stream, and bit k of the stream is bit
//   k mod 8 of byte k / 8. Codes go in row-major order over the whole tensor (O,kh,kw,I), rows are not padded; the last byte is filled up
//   with zeros: (n b + 7) / 8 bytes. The signed code q in [-2^(b-1), 2^(b-1)) is stored as u = q + 2^(b-1).
//   The smallest group of codes that fills whole bytes:
//     u2   4 codes, 1 byte    b0 = u0 | u1<<2 | u2<<4 | u3<<6
//     u3   8 codes, 3 bytes   b0 = u0 | u1<<3 | u2<<6    b1 = u2>>2 | u3<<1 | u4<<4 | u5<<7    b2 = u5>>1 | u6<<2 | u7<<5
//     u4   2 codes, 1 byte    b0 = u0 | u1<<4
//     u5   8 codes, 5 bytes   b0 = u0 | u1<<5    b1 = u1>>3 | u2<<2 | u3<<7    b2 = u3>>1 | u4<<4    b3 = u4>>4 | u5<<1 | u6<<6
//                             b4 = u6>>2 | u7<<3
//     u6   4 codes, 3 bytes   b0 = u0 | u1<<6    b1 = u1>>2 | u2<<4    b2 = u2>>4 | u3<<2
//     u7   8 codes, 7 bytes   b0 = u0 | u1<<7    bk = u(k)>>k | u(k+1)<<(7-k), k = 0 ... 6
//     u8   1 code,  1 byte    b0 = u0
//
// A weight is three tensors: codes `name` (u2 ... u8 [O,...]), `name.scale` f32 [O] and `name.zero` i32 [O];
// weight = (q + zero[o]) / scale[o], one f32 division. safetensors has no dtype below a byte, so the file holds packed codes as U8 [bytes];
// dtype and shape stand in the graph ("parameter %1 conv1.weight u6[64,3,3,3]"). In Python:
//
//   import re, numpy as np
//   from safetensors import safe_open
//   def weights(path):
//       with safe_open(path, "np") as f:
//           graph = f.metadata()["vitrine.graph"]
//           for name, b, shape in re.findall(r"^parameter %\d+ (\S+) u(\d)\[([\d,]+)\]", graph, re.M):
//               b, shape = int(b), [int(d) for d in shape.split(",")]
//               bits = np.unpackbits(f.get_tensor(name).reshape(-1), bitorder="little")[: b * np.prod(shape)].reshape(-1, b)
//               q = (bits @ (1 << np.arange(b))).astype(np.int64).reshape(shape[0], -1) - (1 << (b - 1))
//               zero, scale = f.get_tensor(name + ".zero")[:, None], f.get_tensor(name + ".scale")[:, None]
//               yield name, ((q + zero).astype(np.float32) / scale).reshape(shape)
#pragma once
#include <numeric>
#include <string>

#include "engine/core/tensor.h"
#include "quant/ops/fake_quant.h"

namespace vitrine::quant {

// The smallest group of codes that fills whole bytes.
template <int bits>
struct CodeGroup {
  static constexpr int kCodes = 8 / std::gcd(bits, 8);
  uint8_t bytes[kCodes * bits / 8];
};
static_assert(sizeof(CodeGroup<2>) == 1 && sizeof(CodeGroup<3>) == 3 && sizeof(CodeGroup<4>) == 1 && sizeof(CodeGroup<5>) == 5 &&
              sizeof(CodeGroup<6>) == 3 && sizeof(CodeGroup<7>) == 7 && sizeof(CodeGroup<8>) == 1);

Dtype code_dtype(int64_t bits);  // u2 ... u8; Error for other widths
int64_t code_bits(Dtype);        // 0: no codes

Tensor pack_codes(const Tensor& q, int64_t bits);  // i8 -> u<bits>, same shape; Error where a code does not fit
Tensor unpack_codes(const Tensor& packed);         // u2 ... u8 -> i8

struct PackedWeights {
  Tensor codes, scale, zero;
};
// The codes that fake_quant_weight rounds to, one range per output channel. A channel of equal weights c, for which the formula gives a
// zero point beyond i32, is q = 0, zero = 1, scale = 1 / c. Error where a zero point does not stay below cpu::kQZeroLimit in magnitude,
// which happens to weights that differ by less than a sixtieth of their distance from 0. `name` is for messages.
PackedWeights pack_weights(const Tensor& w, const FakeQuantWeightAttrs&, const std::string& name);
// (q + zero) / scale: bit for bit what fake_quant_weight gives, but for channels of equal weights.
void unpack_weights(const PackedWeights&, float* w);

}  // namespace vitrine::quant
