// Building and checking graphs.
#include "engine/graph/graph.h"

#include <set>

namespace vitrine {

Id Graph::add_value(Value::Kind kind, std::string name, Meta meta) {
  if (kind == Value::Kind::computed)
    CHECK(name.empty(), "graph: computed value with the name ", name);
  else
    CHECK(!name.empty() && find(name) < 0, "graph: value name '", name, "' is empty or taken");
  CHECK(name.find_first_of(" \t\n%=") == std::string::npos, "graph: value name '", name, "' holds a space, % or =");
  values.push_back({kind, std::move(name), std::move(meta)});
  Id id = static_cast<Id>(values.size()) - 1;
  if (kind == Value::Kind::input) inputs.push_back(id);
  return id;
}

Readers::Readers(const Graph& g) : all_(g.values.size()) {
  for (const GraphNode& n : g.nodes)
    for (Id id : n.in) all_[id].push_back(&n);
  for (Id id : g.outputs) all_[id].push_back(nullptr);
  for (auto& u : g.updates) all_[u.value].push_back(nullptr);
}

std::vector<Id> Graph::add_node(const OpDef& op, AttrsPtr attrs, std::vector<Id> in) {
  if (!attrs && op.attrs) attrs = op.attrs();
  CHECK(!in.empty(), "graph: node ", op.name, " reads no value");
  Metas metas;
  for (Id id : in) {
    CHECK(id >= 0 && id < static_cast<Id>(values.size()), "graph: node ", op.name, " reads value ", id, " of ", values.size());
    metas.push_back(values[id].meta);
  }
  GraphNode node{&op, attrs, std::move(in), {}};
  for (Meta& m : op.infer(metas, attrs.get())) node.out.push_back(add_value(Value::Kind::computed, "", m));
  nodes.push_back(node);
  return node.out;
}

Id Graph::find(const std::string& name) const {
  for (size_t i = 0; i < values.size(); ++i)
    if (!values[i].name.empty() && values[i].name == name) return static_cast<Id>(i);
  return -1;
}

std::vector<Id> Graph::named(Value::Kind kind) const {
  std::vector<Id> ids;
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i].kind == kind) ids.push_back(static_cast<Id>(i));
  return ids;
}

namespace {

void check_node(const Graph& g, const GraphNode& node, size_t index, std::vector<bool>& known) {
  auto where = [&] { return cat("graph: node ", index, " (", node.op->name, "): "); };
  CHECK(!node.in.empty(), where(), "reads no value");
  Metas metas;
  for (Id id : node.in) {
    CHECK(id >= 0 && id < static_cast<Id>(g.values.size()) && known[id], where(), "reads %", id, " before it is known");
    metas.push_back(g.values[id].meta);
  }
  Metas out;
  try {
    out = node.op->infer(metas, node.attrs.get());
  } catch (const Error& e) {
    throw Error(where() + e.what());
  }
  CHECK(out.size() == node.out.size(), where(), "has ", node.out.size(), " outputs, expected ", out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    Id id = node.out[i];
    CHECK(id >= 0 && id < static_cast<Id>(g.values.size()) && !known[id], where(), "writes %", id, ", which is not its own");
    CHECK(g.values[id].kind == Value::Kind::computed, where(), "writes the named value ", g.values[id].name);
    CHECK(g.values[id].meta.shape == out[i].shape && g.values[id].meta.dtype == out[i].dtype, where(), "output ", i, " is ",
          str(g.values[id].meta), ", expected ", str(out[i]));
    known[id] = true;
  }
}

void verify_node(const Model& m, size_t index) {
  const GraphNode& node = m.graph.nodes[index];
  if (!node.op->verify) return;
  Tensors in;
  for (Id id : node.in) {
    const Value& v = m.graph.values[id];
    const bool given = v.given();
    in.push_back(given ? m.tensors.at(v.name).to(Device::cpu) : Tensor());
  }
  try {
    node.op->verify(in, node.attrs.get());
  } catch (const Error& e) {
    throw Error(cat("graph: node ", index, " (", node.op->name, "): ", e.what()));
  }
}

}  // namespace

void check(const Graph& g) {
  std::set<std::string> names;
  std::vector<bool> known(g.values.size());
  for (size_t i = 0; i < g.values.size(); ++i) {
    const Value& v = g.values[i];
    if (v.kind == Value::Kind::computed) continue;
    CHECK(names.insert(v.name).second, "graph: two values are named ", v.name);
    known[i] = true;
  }
  for (size_t i = 0; i < g.nodes.size(); ++i) check_node(g, g.nodes[i], i, known);
  auto valid = [&](Id id) { return id >= 0 && id < static_cast<Id>(g.values.size()) && known[id]; };
  for (Id id : g.outputs) CHECK(valid(id), "graph: output %", id, " is never computed");
  for (Id id : g.inputs) CHECK(valid(id) && g.values[id].kind == Value::Kind::input, "graph: input %", id, " is not an input");
  for (auto& u : g.updates) {
    CHECK(valid(u.state) && valid(u.value) && g.values[u.state].kind == Value::Kind::buffer, "graph: update of %", u.state, " by %",
          u.value);
    CHECK(g.values[u.state].meta == g.values[u.value].meta, "graph: update of ", g.values[u.state].name, " ", str(g.values[u.state].meta),
          " by ", str(g.values[u.value].meta));
  }
}

void check(const Model& m) {
  check(m.graph);
  CHECK(!m.tensors.count(""), "model: a tensor without a name");
  for (const Value& v : m.graph.values) {
    CHECK(v.kind != Value::Kind::input || !m.tensors.count(v.name), "model: tensor ", v.name, " has the name of an input");
    if (!v.given()) continue;
    auto it = m.tensors.find(v.name);
    CHECK(it != m.tensors.end(), "model: tensor ", v.name, " is missing");
    CHECK(it->second.shape() == v.meta.shape && it->second.dtype() == v.meta.dtype, "model: tensor ", v.name, " is ",
          str(it->second.meta()), ", expected ", str(v.meta));
  }
  for (size_t i = 0; i < m.graph.nodes.size(); ++i) verify_node(m, i);
}

Model clone(const Model& m) {
  Model copy = m;
  for (auto& [name, tensor] : copy.tensors) tensor = tensor.clone();
  return copy;
}

Model to(const Model& m, Device d) {
  Model moved = m;
  for (auto& [name, tensor] : moved.tensors) tensor = tensor.to(d);
  return moved;
}

Device device_of(const Model& m) { return m.tensors.empty() ? Device::cpu : m.tensors.begin()->second.device(); }

}  // namespace vitrine
