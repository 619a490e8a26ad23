// What the tensor formats here share: overflow-safe tensor sizes, tensors from bytes and back.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/bytes.h"
#include "engine/core/tensor.h"

namespace vitrine::io {

// The bytes of a tensor with these extents; nullopt when an extent is negative, the rank exceeds Shape::kMaxRank or a product overflows.
// A shape that passes can be given to Shape, Meta and Tensor::empty without overflow (the memory is still the caller's to justify).
std::optional<int64_t> tensor_bytes(const std::vector<int64_t>& dims, Dtype dtype);

// For messages: "[2,3]", also of extents that no Shape would take.
std::string list(const std::vector<int64_t>& dims);

// A tensor on the cpu with a copy of `bytes`, which must be exactly as many as the shape needs.
Tensor tensor_from(const Shape& shape, Dtype dtype, std::string_view bytes);

// The bytes of a contiguous cpu tensor.
std::string_view bytes_of(const Tensor& t);

}  // namespace vitrine::io
