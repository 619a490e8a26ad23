// bf16: the upper half of f32.
#pragma once
#include <bit>
#include <cstdint>

#include "engine/core/dtype.h"
#include "engine/core/host_device.h"

namespace vitrine {

// To nearest even; a NaN stays one.
VITRINE_HD inline uint16_t to_bf16(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v), is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>(is_nan ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
VITRINE_HD inline float from_bf16(uint16_t v) { return std::bit_cast<float>(uint32_t{v} << 16); }

// An element of a bf16 tensor: read as f32 or f64, and written by rounding one of these (to f32 first).
struct Bf16 {
  uint16_t bits;
  Bf16() = default;
  template <class T>
  VITRINE_HD explicit Bf16(T v) : bits(to_bf16(static_cast<float>(v))) {}
  template <class T>
  VITRINE_HD explicit operator T() const {
    return static_cast<T>(from_bf16(bits));
  }
};
template <>
constexpr Dtype dtype_of<Bf16>() {
  return Dtype::bf16;
}

}  // namespace vitrine
