// trace: calls -> Graph. run: Graph -> calls, through the same apply() that eager code uses.
#include <map>

#include "engine/graph/graph.h"

namespace vitrine {

Graph trace(const std::vector<NamedTensor>& named, const Tensor& example, const std::function<Tensor(const Tensor&)>& forward) {
  Graph g;
  // Values are recognised by their Impl, so every tensor seen is kept alive until the end: a freed address could come back as another's.
  std::map<Tensor::Impl*, Id> known;
  Tensors alive;
  auto learn = [&](const Tensor& t, Id id) {
    known[t.impl()] = id;
    alive.push_back(t);
  };
  Tensor input = example.detach();
  learn(input, g.add_value(Value::Kind::input, "data", example.meta()));
  for (auto& n : named) learn(n.tensor, g.add_value(n.kind, n.name, n.tensor.meta()));

  Recorder record = [&](const OpDef& op, const AttrsPtr& attrs, const Tensors& in, const Tensors& out) {
    std::vector<Id> ids;
    for (const Tensor& t : in) {
      auto it = known.find(t.impl());
      CHECK(it != known.end(), "trace: input ", ids.size(), " of ", op.name, " ", str(t.meta()),
            " is neither computed here nor a named tensor");
      ids.push_back(it->second);
    }
    auto made = g.add_node(op, attrs, ids);
    for (size_t i = 0; i < out.size(); ++i) learn(out[i], made[i]);
  };
  struct Open {
    explicit Open(Recorder* r) { set_recorder(r); }
    ~Open() { set_recorder(nullptr); }
  } open(&record);
  NoGrad quiet;
  DryRun dry;
  Tensor y = forward(input);
  CHECK(known.count(y.impl()), "trace: the result was not computed from recorded calls");
  g.outputs.push_back(known[y.impl()]);
  check(g);
  return g;
}

Tensors run(const Graph& g, const TensorMap& tensors, const Tensors& inputs, const Watch& watch) {
  CHECK(inputs.size() == g.inputs.size(), "run: ", inputs.size(), " inputs, the graph has ", g.inputs.size());
  std::vector<Tensor> value(g.values.size());
  std::vector<int> uses(g.values.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Meta& want = g.values[g.inputs[i]].meta;
    Shape per_image = inputs[i].shape();
    if (per_image.rank() > 0) per_image[0] = want.shape.rank() ? want.shape[0] : 1;
    CHECK(per_image == want.shape && inputs[i].dtype() == want.dtype, "run: input ", g.values[g.inputs[i]].name, " is ",
          str(inputs[i].meta()), ", expected ", str(want), " with any batch");
    value[g.inputs[i]] = inputs[i];
  }
  for (size_t i = 0; i < g.values.size(); ++i) {
    if (g.values[i].kind != Value::Kind::parameter && g.values[i].kind != Value::Kind::buffer) continue;
    auto it = tensors.find(g.values[i].name);
    CHECK(it != tensors.end(), "run: no tensor for ", g.values[i].name);
    value[i] = it->second;
  }
  for (const GraphNode& n : g.nodes)
    for (Id id : n.in) ++uses[id];
  for (Id id : g.outputs) ++uses[id];
  for (auto& u : g.updates) ++uses[u.value];

  for (const GraphNode& n : g.nodes) {
    Tensors in;
    for (Id id : n.in) in.push_back(value[id]);
    for (Id id : n.in)
      if (--uses[id] == 0) value[id] = {};
    Tensors out = apply(*n.op, n.attrs, std::move(in));
    if (watch) watch(n, out);
    for (size_t i = 0; i < out.size(); ++i)
      if (uses[n.out[i]]) value[n.out[i]] = out[i];
  }
  for (auto& u : g.updates) Tensor(tensors.at(g.values[u.state].name)).assign(value[u.value]);
  Tensors out;
  for (Id id : g.outputs) out.push_back(value[id]);
  return out;
}

}  // namespace vitrine
