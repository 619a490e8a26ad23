#include "tools/compare.h"

namespace vitrine::tools {

std::vector<LayerChange> compare_layers(const Graph& before, const Graph& after) {
  const Count a = count(before), b = count(after);
  CHECK(a.nodes.size() == b.nodes.size(), "networks of ", a.nodes.size(), " and ", b.nodes.size(), " nodes: not two forms of one");
  std::vector<LayerChange> all;
  for (size_t i = 0; i < a.nodes.size(); ++i) {
    const NodeCost &x = a.nodes[i], &y = b.nodes[i];
    CHECK(x.op == y.op && x.name == y.name, "node ", i, " is ", x.name, " (", x.op->name, ") and ", y.name, " (", y.op->name,
          "): not two forms of one network");
    if (x.params || x.macs) all.push_back({x.name, x.op->name, x.out, y.out, x.params, y.params, x.macs, y.macs});
  }
  return all;
}

std::vector<std::string> change_header() { return {"layer", "operator", "output", "parameters", "MACs"}; }

std::vector<std::vector<std::string>> change_table(const std::vector<LayerChange>& all) {
  auto both = [](const auto& before, const auto& after) { return before == after ? cat(before) : cat(before, " > ", after); };
  std::vector<std::vector<std::string>> rows;
  for (auto& l : all)
    rows.push_back(
        {l.name, l.op, both(l.shape_before, l.shape_after), both(l.params_before, l.params_after), both(l.macs_before, l.macs_after)});
  return rows;
}

}  // namespace vitrine::tools
