#include "nn/io/onnx_tensor.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/core/text.h"
#include "nn/io/bytes.h"

namespace vitrine::io {
namespace {

using Proto = onnx::TensorProto;

Dtype dtype_of_code(int code, const std::string& where) {
  switch (code) {
    case Proto::FLOAT:
      return Dtype::f32;
    case Proto::DOUBLE:
      return Dtype::f64;
    case Proto::INT64:
      return Dtype::i64;
    case Proto::INT32:
      return Dtype::i32;
    case Proto::INT16:
      return Dtype::i16;
    case Proto::INT8:
      return Dtype::i8;
    case Proto::UINT8:
      return Dtype::u8;
    case Proto::BOOL:
      return Dtype::b8;
    case Proto::FLOAT16:
      return Dtype::f16;
    case Proto::BFLOAT16:
      return Dtype::bf16;
    default:
      throw Error(cat(where, "data type ", code, " is not supported"));
  }
}

// A typed field holds one number per element, wider than the element for the small types (which sit in its low bytes).
template <class Field>
Tensor from_field(const Field& field, const Shape& shape, Dtype dtype, const std::string& where) {
  CHECK(field.size() == shape.numel(), where, field.size(), " elements, expected ", shape.numel(), " for ", shape);
  Tensor t = Tensor::empty({shape, dtype, Device::cpu});
  auto size = static_cast<size_t>(info(dtype).block_bytes);
  char* out = static_cast<char*>(t.raw());
  for (const auto& v : field) {
    static_assert(sizeof v >= 4);
    std::memcpy(out, &v, size);
    out += size;
  }
  return t;
}

std::string external(const Proto& proto, const char* key, const std::string& otherwise) {
  for (const auto& entry : proto.external_data())
    if (entry.key() == key) return entry.value();
  return otherwise;
}

std::string read_external(const Proto& proto, int64_t size, const std::string& where, const std::string& model) {
  const std::string file = external_file(proto, where, model);
  const auto offset = number_from<int64_t>(external(proto, "offset", "0"));
  const auto length = number_from<int64_t>(external(proto, "length", std::to_string(size)));
  const auto there = static_cast<int64_t>(std::filesystem::file_size(file));
  CHECK(offset && *offset >= 0 && length && *length == size && size <= there && *offset <= there - size, where, file, " has ", there,
        " bytes, expected ", size, " at offset ", brief(external(proto, "offset", "0")), ", length ",
        brief(external(proto, "length", "of the tensor")));
  std::string bytes(static_cast<size_t>(size), '\0');
  std::ifstream in(file, std::ios::binary);
  in.seekg(*offset);
  in.read(bytes.data(), size);
  CHECK(in, where, file, ": cannot be read");
  return bytes;
}

}  // namespace

std::string external_file(const Proto& proto, const std::string& where, const std::string& model) {
  CHECK(!model.empty(), where, "the data lies in another file, expected it inside");
  const std::filesystem::path location = external(proto, "location", "");
  const bool beside = location.is_relative() && std::find(location.begin(), location.end(), "..") == location.end();
  const std::string file = (std::filesystem::path(model).parent_path() / location).string();
  std::error_code error;
  CHECK(beside && std::filesystem::is_regular_file(file, error), where, "the data lies in '", brief(location.string()),
        "', expected a file beside the model");
  return file;
}

Tensor decode(const Proto& proto, const std::string& where, const std::string& model) {
  Dtype dtype = dtype_of_code(proto.data_type(), where);
  std::vector<int64_t> dims(proto.dims().begin(), proto.dims().end());
  auto bytes = tensor_bytes(dims, dtype);
  CHECK(bytes, where, "shape ", brief(list(dims)), " is not supported");
  Shape shape(dims);
  if (proto.data_location() == Proto::EXTERNAL) return tensor_from(shape, dtype, read_external(proto, *bytes, where, model));
  if (proto.has_raw_data()) {
    auto size = static_cast<int64_t>(proto.raw_data().size());
    CHECK(size == *bytes, where, size, " bytes, expected ", *bytes, " for ", shape);
    return tensor_from(shape, dtype, proto.raw_data());
  }
  switch (dtype) {
    case Dtype::f32:
      return from_field(proto.float_data(), shape, dtype, where);
    case Dtype::f64:
      return from_field(proto.double_data(), shape, dtype, where);
    case Dtype::i64:
      return from_field(proto.int64_data(), shape, dtype, where);
    default:
      return from_field(proto.int32_data(), shape, dtype, where);
  }
}

void encode(const Tensor& tensor, const std::string& name, Proto* proto) {
  CHECK(tensor.dtype() == Dtype::f32 || tensor.dtype() == Dtype::i64, "onnx: tensor ", name, " is ", str(tensor.meta()), ", expected f32");
  proto->set_name(name);
  proto->set_data_type(tensor.dtype() == Dtype::f32 ? Proto::FLOAT : Proto::INT64);
  for (int64_t extent : tensor.shape()) proto->add_dims(extent);
  std::string_view raw = bytes_of(tensor);
  proto->set_raw_data(raw.data(), raw.size());
}

}  // namespace vitrine::io
