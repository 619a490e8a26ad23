// TensorProto to Tensor and back; element order is ONNX's.
#pragma once
#include <string>

#include "engine/core/tensor.h"
#include "nn/io/onnx.pb.h"

namespace vitrine::io {

Tensor decode(const onnx::TensorProto& proto, const std::string& where);  // `where` begins the messages
void encode(const Tensor& tensor, const std::string& name, onnx::TensorProto* proto);

}  // namespace vitrine::io
