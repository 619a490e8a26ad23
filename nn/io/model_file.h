// A model as one safetensors file: its tensors by name and, in the metadata, the graph's printed form ("vitrine.graph") and model.info.
// Packed codes (u2 to u7) are written as U8 [bytes]; their dtype and shape stand in the graph.
#pragma once
#include <string>
#include <string_view>

#include "engine/graph/graph.h"

namespace vitrine::io {

void save_model(const std::string& path, const Model& model);  // same model, same bytes
Model load_model(const std::string& path);                     // checked: every tensor the graph names is there, with its shape and dtype
Model parse_model(std::string_view bytes, const std::string& file);  // `file` is for messages

}  // namespace vitrine::io
