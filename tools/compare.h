// Two forms of one network side by side, layer by layer: before and after pruning.
#pragma once
#include <string>
#include <vector>

#include "engine/graph/graph.h"

namespace vitrine::tools {

struct LayerChange {
  std::string name, op;
  Shape shape_before, shape_after;
  int64_t params_before = 0, params_after = 0, macs_before = 0, macs_after = 0;
};
// Nodes that have parameters or cost something. Error if the graphs have different nodes.
std::vector<LayerChange> compare_layers(const Graph& before, const Graph& after);

std::vector<std::string> change_header();
std::vector<std::vector<std::string>> change_table(const std::vector<LayerChange>&);  // "4096 > 3264" where they differ

}  // namespace vitrine::tools
