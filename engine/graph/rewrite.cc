#include "engine/graph/rewrite.h"

#include <set>

#include "engine/ops/batch_norm.h"
#include "engine/ops/cast.h"
#include "engine/ops/conv2d_winograd.h"
#include "engine/ops/dropout.h"

namespace vitrine {

std::vector<Id> copy_node(Graph& copy, const GraphNode& node, const std::vector<Id>& in) { return copy.add_node(*node.op, node.attrs, in); }

Graph rewrite(const Graph& g, const Emit& emit) {
  Graph copy;
  std::vector<Id> to(g.values.size(), -1);
  for (size_t i = 0; i < g.values.size(); ++i)
    if (g.values[i].kind != Value::Kind::computed) to[i] = copy.add_value(g.values[i].kind, g.values[i].name, g.values[i].meta);
  for (const GraphNode& node : g.nodes) {
    std::vector<Id> in;
    for (Id id : node.in) in.push_back(to[id]);
    auto out = emit(copy, node, in);
    CHECK(out.size() == node.out.size(), "rewrite: ", out.size(), " values for ", node.op->name, ", which has ", node.out.size());
    for (size_t i = 0; i < out.size(); ++i) to[node.out[i]] = out[i];
  }
  for (Id id : g.outputs) copy.outputs.push_back(to[id]);
  for (auto& u : g.updates) copy.updates.push_back({to[u.state], to[u.value]});
  check(copy);
  return copy;
}

Graph with_batch_statistics(const Graph& g, double momentum) {
  return rewrite(g, [&](Graph& copy, const GraphNode& node, const std::vector<Id>& in) {
    if (!is(node, "batch_norm")) return copy_node(copy, node, in);
    auto a = std::make_shared<BatchNormTrainAttrs>();
    a->eps = static_cast<BatchNormAttrs&>(*node.attrs).eps, a->momentum = momentum;
    auto out = copy.add_node(op_named("batch_norm_train"), a, in);
    for (int k : {0, 1})
      if (copy.values[in[3 + k]].kind == Value::Kind::buffer) copy.updates.push_back({in[3 + k], out[3 + k]});
    return std::vector<Id>{out[0]};
  });
}

Model with_dtype(const Model& m, Dtype dtype) {
  auto converts = [&](Dtype d) { return d == Dtype::f32 || d == Dtype::f64; };
  Model converted = m;
  for (auto& [name, tensor] : converted.tensors)
    if (converts(tensor.dtype())) tensor = tensor.to(dtype);
  for (Value& v : converted.graph.values)
    if (converts(v.meta.dtype)) v.meta.dtype = dtype;
  converted.graph = rewrite(converted.graph, copy_node);
  return converted;
}

Graph with_winograd(const Graph& g) {
  return rewrite(g, [&](Graph& copy, const GraphNode& node, const std::vector<Id>& in) {
    auto shape = [&](Id id) { return copy.values[id].meta.shape; };
    if (!is(node, "conv2d")) return copy_node(copy, node, in);
    auto& conv = static_cast<Conv2dAttrs&>(*node.attrs);
    if (!pays_as_winograd(conv, shape(in[0]), shape(in[1]), g.values[node.out[0]].meta.shape)) return copy_node(copy, node, in);
    auto a = std::make_shared<WinogradAttrs>();
    a->pad_h = conv.pad_h, a->pad_w = conv.pad_w;
    return copy.add_node(op_named("conv2d_winograd"), a, in);
  });
}

Graph with_bf16_convolutions(const Graph& g) {
  const Readers readers(g);
  return rewrite(g, [&](Graph& copy, const GraphNode& node, const std::vector<Id>& in) {
    const bool taps = is(node, "conv2d") && copy.values[in[1]].meta.shape.product(1, 3) > 1;
    if (!taps || !is(readers.sole(node.out[0]), "batch_norm_train")) return copy_node(copy, node, in);
    auto a = std::make_shared<CastAttrs>();
    a->dtype = Dtype::bf16;
    return copy_node(copy, node, {copy.add_node(op_named("cast"), a, {in[0]})[0], in[1]});
  });
}

Graph with_dropout(const Graph& g, double p, int64_t seed) {
  std::set<Id> flat;  // in g
  for (const GraphNode& n : g.nodes)
    if (is(n, "reshape") && g.values[n.in[0]].meta.shape.rank() == 4) flat.insert(n.out[0]);
  Id step = -1;
  return rewrite(g, [&](Graph& copy, const GraphNode& node, const std::vector<Id>& in) {
    if (!is(node, "matmul") || !flat.count(node.in[0])) return copy_node(copy, node, in);
    auto a = std::make_shared<DropoutAttrs>();
    a->p = p, a->seed = seed++;
    bool first = step < 0;
    if (first) step = copy.add_value(Value::Kind::buffer, kDropoutStep, {{}, Dtype::i64});
    auto dropped = copy.add_node(op_named("dropout"), a, {in[0], step});
    if (first) copy.updates.push_back({step, dropped[1]});
    return copy_node(copy, node, {dropped[0], in[1]});
  });
}

}  // namespace vitrine
