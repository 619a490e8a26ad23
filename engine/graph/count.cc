// Costs, counted on the graph for one image.
#include <algorithm>
#include <set>

#include "engine/graph/graph.h"

namespace vitrine {
namespace {

// A node is called after the first parameter it reads, or "operator@position" if it reads none.
std::string node_name(const Graph& g, size_t index) {
  for (Id id : g.nodes[index].in)
    if (g.values[id].kind == Value::Kind::parameter) {
      const std::string& name = g.values[id].name;
      size_t dot = name.rfind('.');
      return dot == std::string::npos ? name : name.substr(0, dot);
    }
  return cat(g.nodes[index].op->name, "@", index);
}

}  // namespace

Count count(const Graph& g) {
  Count total;
  std::set<Id> counted;  // a shared parameter is counted once
  int64_t batch = 1;
  if (!g.inputs.empty() && g.values[g.inputs[0]].meta.shape.rank()) batch = std::max<int64_t>(1, g.values[g.inputs[0]].meta.shape[0]);
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const GraphNode& n = g.nodes[i];
    Metas in, out;
    for (Id id : n.in) in.push_back(g.values[id].meta);
    for (Id id : n.out) out.push_back(g.values[id].meta);
    NodeCost cost{node_name(g, i), n.op, out[0].shape, n.op->macs ? n.op->macs(in, out, n.attrs.get()) / batch : 0, 0};
    for (Id id : n.in)
      if (g.values[id].kind == Value::Kind::parameter && counted.insert(id).second) cost.params += g.values[id].meta.numel();
    total.macs += cost.macs;
    total.nodes.push_back(cost);
  }
  for (const Value& v : g.values) {
    if (v.kind == Value::Kind::parameter) total.params += v.meta.numel();
    if (v.kind == Value::Kind::buffer) total.buffers += v.meta.numel();
  }
  return total;
}

}  // namespace vitrine
