// numpy's .npy, versions 1 and 2: f4, f8, i4, i8 and u1, little-endian, C order.
#pragma once
#include <string>
#include <string_view>

#include "engine/core/tensor.h"

namespace vitrine::io {

Tensor read_npy(const std::string& path);
Tensor parse_npy(std::string_view bytes, const std::string& file);  // `file` is for messages
void write_npy(const std::string& path, const Tensor& t);           // version 1; data aligned to 64 bytes, as numpy does

}  // namespace vitrine::io
