#include "nn/io/bytes.h"

#include <algorithm>
#include <cstring>

namespace vitrine::io {

std::optional<int64_t> tensor_bytes(const std::vector<int64_t>& dims, Dtype dtype) {
  if (dims.size() > Shape::kMaxRank) return std::nullopt;
  const DtypeInfo& d = info(dtype);
  // Zero extents count as one here: Shape multiplies in order and must not overflow before it meets the zero.
  int64_t elements = 1;
  bool empty = false;
  for (int64_t extent : dims) {
    if (extent < 0 || extent > INT64_MAX / 16) return std::nullopt;
    empty |= extent == 0;
    if (__builtin_mul_overflow(elements, std::max<int64_t>(extent, 1), &elements) || elements > INT64_MAX / 16) return std::nullopt;
  }
  if (empty) return 0;
  return (elements * d.block_bytes + d.block - 1) / d.block;  // elements <= INT64_MAX / 16, block_bytes <= 8
}

std::string list(const std::vector<int64_t>& dims) {
  std::string s = "[";
  for (size_t i = 0; i < dims.size(); ++i) s += (i ? "," : "") + std::to_string(dims[i]);
  return s + "]";
}

Tensor tensor_from(const Shape& shape, Dtype dtype, std::string_view bytes) {
  Tensor t = Tensor::empty({shape, dtype, Device::cpu});
  CHECK(t.meta().nbytes() == static_cast<int64_t>(bytes.size()), str(t.meta()), ": ", bytes.size(), " bytes, expected ", t.meta().nbytes());
  if (!bytes.empty()) std::memcpy(t.raw(), bytes.data(), bytes.size());
  return t;
}

std::string_view bytes_of(const Tensor& t) {
  CHECK(t.device() == Device::cpu, "a tensor on ", name(t.device()), " cannot be written: copy it to the cpu first");
  return {static_cast<const char*>(t.raw()), static_cast<size_t>(t.meta().nbytes())};
}

}  // namespace vitrine::io
