// numpy's .npy, versions 1 and 2: f4, f8, i4, i8 and u1, little-endian, C order.
#pragma once
#include <fstream>
#include <string>
#include <string_view>

#include "engine/core/tensor.h"

namespace vitrine::io {

Tensor read_npy(const std::string& path);
Tensor parse_npy(std::string_view bytes, const std::string& file);  // `file` is for messages

// Rows of a matrix too large to hold: <f4 or <f8 [N,D], read one at a time, as f32.
class NpyRows {
 public:
  explicit NpyRows(const std::string& path);  // Error unless the file is whole
  int64_t size() const { return rows_; }
  int64_t dim() const { return dim_; }
  void read(int64_t row, float* out);

 private:
  std::string path_, buffer_;
  std::ifstream in_;
  int64_t rows_ = 0, dim_ = 0, data_ = 0;
  Dtype dtype_ = Dtype::f32;
};

void write_npy(const std::string& path, const Tensor& t);  // version 1; data aligned to 64 bytes, as numpy does

}  // namespace vitrine::io
