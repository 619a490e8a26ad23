#include "engine/core/dtype.h"

#include "engine/core/error.h"

namespace vitrine {
namespace {
constexpr DtypeInfo kTable[] = {
    {"f32", "F32", 1, 4}, {"f64", "F64", 1, 8},   {"i64", "I64", 1, 8}, {"i32", "I32", 1, 4}, {"i8", "I8", 1, 1}, {"u8", "U8", 1, 1},
    {"f16", "F16", 1, 2}, {"bf16", "BF16", 1, 2}, {"i16", "I16", 1, 2}, {"b8", "BOOL", 1, 1}, {"u2", "U8", 4, 1}, {"u3", "U8", 8, 3},
    {"u4", "U8", 2, 1},   {"u5", "U8", 8, 5},     {"u6", "U8", 4, 3},   {"u7", "U8", 8, 7},
};
}  // namespace

const DtypeInfo& info(Dtype d) { return kTable[static_cast<int>(d)]; }

Dtype dtype_named(const std::string& name) {
  for (int i = 0; i < static_cast<int>(std::size(kTable)); ++i)
    if (name == kTable[i].name || name == kTable[i].safetensors) return static_cast<Dtype>(i);
  throw Error(cat("unknown dtype '", name, "'"));
}

}  // namespace vitrine
