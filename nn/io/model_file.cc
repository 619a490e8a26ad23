#include "nn/io/model_file.h"

#include "nn/io/bytes.h"
#include "nn/io/safetensors.h"

namespace vitrine::io {
namespace {
constexpr const char* kGraphKey = "vitrine.graph";

// Packed codes lie in the file as their bytes, U8 [bytes]: the graph says what they are.
Tensor unpacked_dtype(const Tensor& t, const Value& v) {
  const bool bytes = t.dtype() == Dtype::u8 && t.shape() == Shape({v.meta.nbytes()});
  return info(v.meta.dtype).packed() && bytes ? tensor_from(v.meta.shape, v.meta.dtype, bytes_of(t)) : t;
}
}  // namespace

void save_model(const std::string& path, const Model& model) {
  check(model);
  TensorFile file;
  for (const auto& [name, tensor] : model.tensors) file.tensors.emplace_back(name, tensor.to(Device::cpu));
  file.metadata = model.info;
  CHECK(file.metadata.emplace(kGraphKey, print(model.graph)).second, path, ": model.info must not have the key ", kGraphKey);
  write_safetensors(path, file);
}

Model parse_model(std::string_view bytes, const std::string& file) {
  TensorFile content = parse_safetensors(bytes, file);
  auto text = content.metadata.find(kGraphKey);
  CHECK(text != content.metadata.end(), file, ": no metadata ", kGraphKey, ": these are tensors without a network");
  Model m;
  for (auto& [name, tensor] : content.tensors) m.tensors.emplace(name, tensor);
  try {
    m.graph = parse_graph(text->second);
    for (const Value& v : m.graph.values)
      if (auto it = m.tensors.find(v.name); it != m.tensors.end()) it->second = unpacked_dtype(it->second, v);
    check(m);
  } catch (const Error& e) {
    throw Error(cat(file, ": ", e.what()));
  }
  content.metadata.erase(text);
  m.info = std::move(content.metadata);
  return m;
}

Model load_model(const std::string& path) { return parse_model(load_bytes(path), path); }

}  // namespace vitrine::io
