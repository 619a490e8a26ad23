// What ONNX import and export share: the two axis orders, and TensorProto to Tensor and back (in ONNX's element order).
#pragma once
#include <string>

#include "engine/core/tensor.h"
#include "nn/io/onnx.pb.h"

namespace vitrine::io {

constexpr const char* kProducer = "vitrine";
inline const Shape kToNhwc{0, 2, 3, 1}, kToNchw{0, 3, 1, 2};  // for transpose(); of weights, O,I,kh,kw to O,kh,kw,I and back
inline const Shape kGroupedToNhwc{0, 3, 4, 1, 2};             // N,G,C,H,W to N,H,W,G,C, channels in groups, and back

// `where` begins the messages. Data that lies in a file beside the model is read if the model's path is given.
Tensor decode(const onnx::TensorProto& proto, const std::string& where, const std::string& model = "");
// The path of that file; Error if there is none, or it would lie elsewhere.
std::string external_file(const onnx::TensorProto& proto, const std::string& where, const std::string& model);
void encode(const Tensor& tensor, const std::string& name, onnx::TensorProto* proto);

}  // namespace vitrine::io
