// safetensors: u64 header length, a JSON object {"name": {"dtype","shape","data_offsets"}, "__metadata__": {string: string}}, then the
// data: little-endian, row-major, without holes or overlaps. Canonical form of every model file (nn/io/model_file.h), readable by any
// Python user.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/tensor.h"

namespace vitrine::io {

struct TensorFile {
  std::vector<std::pair<std::string, Tensor>> tensors;  // in the order of their data in the file; names are unique
  std::map<std::string, std::string> metadata;
};

TensorFile read_safetensors(const std::string& path);
TensorFile parse_safetensors(std::string_view bytes, const std::string& file);  // `file` is for messages

// Same content, same bytes. The header is padded with spaces so that the data starts at a multiple of 8.
void write_safetensors(const std::string& path, const TensorFile& file);

}  // namespace vitrine::io
