// The dtype table. One row per dtype; everything else about a dtype is computed from its row.
// f16, i16 and b8 are storage types of foreign files, to be converted before computing; bf16 is one too, but some operators read and write
// it (engine/ops/cast.h). u2 to u7 are packed codes (quant/format.h):
// nobody indexes their elements.
#pragma once
#include <cstdint>
#include <string>
#include <type_traits>

namespace vitrine {

enum class Dtype : uint8_t { f32, f64, i64, i32, i8, u8, f16, bf16, i16, b8, u2, u3, u4, u5, u6, u7 };

struct DtypeInfo {
  const char* name;         // in graphs and messages
  const char* safetensors;  // in files; packed codes are stored as their bytes
  int block, block_bytes;   // `block` elements take `block_bytes` bytes (packed codes: block > 1)
  bool packed() const { return block > 1; }
};

const DtypeInfo& info(Dtype);
Dtype dtype_named(const std::string& name);  // Error if there is none

template <class T>
constexpr Dtype dtype_of() {
  if constexpr (std::is_same_v<T, float>) return Dtype::f32;
  if constexpr (std::is_same_v<T, double>) return Dtype::f64;
  if constexpr (std::is_same_v<T, int64_t>) return Dtype::i64;
  if constexpr (std::is_same_v<T, int32_t>) return Dtype::i32;
  if constexpr (std::is_same_v<T, int8_t>) return Dtype::i8;
  if constexpr (std::is_same_v<T, uint8_t>) return Dtype::u8;
}

}  // namespace vitrine
