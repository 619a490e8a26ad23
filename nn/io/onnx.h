// ONNX in and out. Outside, images are N,C,H,W and weights O,I,kh,kw; inside (engine/graph) N,H,W,C and O,kh,kw,I. All transposition
// happens here, on the weights: the graph itself gets no transpose except where a flattened image meets something other than a matrix.
#pragma once
#include <string>
#include <string_view>

#include "engine/graph/graph.h"

namespace vitrine::io {

// Conv, BatchNormalization (inference), PRelu, Relu, Sigmoid, Add, Sub, Mul, Div, Gemm, MatMul, Flatten, Reshape to [N,-1] or to channels
// in groups and back, Transpose, Concat, Split, Slice, MaxPool, GlobalAveragePool (also as ReduceMean), Identity, Dropout, Constant; opset
// 7 or newer, one f32 image or matrix as input. A symbolic batch becomes 1. Every use of an initialiser becomes a parameter of its own
// (exporters merge equal ones, training must not). info says "mean" and "std": 0 and 1 of a network that begins with its own normalisation
// (nodes named Sub and Mul), 127.5 of others. Error with the file and the node for everything else. Constants may lie in a file beside the
// model (external data), which only import_onnx looks for.
Model import_onnx(const std::string& path);
Model parse_onnx(std::string_view bytes, const std::string& file);  // `file` is for messages

// Opset 11, IR 6, input "data" N,C,H,W with a symbolic batch. An add of a vector after conv2d or matmul becomes the bias of Conv or Gemm.
// Error that names the operator if ONNX has no word for it (quantizers, training-mode batch norm, ...).
void export_onnx(const std::string& path, const Model& model);

}  // namespace vitrine::io
