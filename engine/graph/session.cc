#include "engine/graph/session.h"

#include <algorithm>
#include <map>

namespace vitrine {
namespace {

// Buffers that may be taken again; the smallest that is large enough is.
class Pool {
 public:
  Pool(Device d, int64_t* total) : device_(d), total_(total) {}
  std::shared_ptr<Buffer> take(int64_t bytes) {
    auto it = free_.lower_bound(bytes);
    if (it == free_.end()) {
      *total_ += bytes;
      return std::make_shared<Buffer>(device_, bytes);
    }
    auto buffer = it->second;
    free_.erase(it);
    return buffer;
  }
  void give(const std::shared_ptr<Buffer>& b) { free_.emplace(b->bytes, b); }

 private:
  Device device_;
  int64_t* total_;
  std::multimap<int64_t, std::shared_ptr<Buffer>> free_;
};

// Per value the index of the last node that needs its bytes: of views, the bytes of what they view.
struct Lives {
  std::vector<Id> owner;  // whose bytes a value has
  std::vector<size_t> end;
};
Lives lives(const Graph& g) {
  Lives l{std::vector<Id>(g.values.size()), std::vector<size_t>(g.values.size(), 0)};
  for (size_t v = 0; v < l.owner.size(); ++v) l.owner[v] = static_cast<Id>(v);
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const GraphNode& n = g.nodes[i];
    if (n.op->view) l.owner[n.out[0]] = l.owner[n.in[0]];
    for (Id id : n.in) l.end[l.owner[id]] = i;
    for (Id id : n.out) l.end[l.owner[id]] = std::max(l.end[l.owner[id]], i);
  }
  for (Id id : g.outputs) l.end[l.owner[id]] = g.nodes.size();
  return l;
}

}  // namespace

Session::Session(const Graph& g, const TensorMap& tensors, int64_t batch) : graph_(g) {
  CHECK(g.updates.empty(), "session: the graph updates its buffers");
  plan(tensors, batch);
}

void Session::plan(const TensorMap& tensors, int64_t batch) {
  const Graph& g = graph_;
  const Device device = tensors.empty() ? Device::cpu : tensors.begin()->second.device();
  const Lives l = lives(g);
  std::vector<Tensor> value(g.values.size());
  std::vector<std::vector<Id>> ending(g.nodes.size());
  for (size_t v = 0; v < g.values.size(); ++v) {
    const Value& named = g.values[v];
    if (named.kind == Value::Kind::computed || named.kind == Value::Kind::input) continue;
    auto it = tensors.find(named.name);
    CHECK(it != tensors.end(), "session: no tensor for ", named.name);
    value[v] = it->second;
  }
  for (Id id : g.inputs) {
    Meta m = g.values[id].meta;
    if (m.shape.rank()) m.shape[0] = batch;
    m.device = device;
    inputs_.push_back(value[id] = Tensor::empty(m));
  }

  Pool pool(device, &bytes_);
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const GraphNode& n = g.nodes[i];
    Step step{&n, n.op->view ? nullptr : n.op->kernel[static_cast<int>(device)], {}, {}};
    CHECK(n.op->view || step.kernel, n.op->name, " has no ", name(device), " kernel");
    Metas metas;
    for (Id id : n.in) metas.push_back(value[id].meta()), step.in.push_back(value[id]);
    Metas out = n.op->infer(metas, n.attrs.get());
    for (size_t k = 0; k < out.size(); ++k) {
      out[k].device = device;
      const bool view = n.op->view && k == 0;
      value[n.out[k]] = view ? value[n.in[0]].view(out[k].shape) : Tensor::over(out[k], pool.take(out[k].nbytes()));
      step.out.push_back(value[n.out[k]]);
      if (!view && l.end[n.out[k]] < g.nodes.size()) ending[l.end[n.out[k]]].push_back(n.out[k]);
    }
    for (Id id : ending[i]) pool.give(value[id].buffer());
    steps_.push_back(std::move(step));
  }
  for (Id id : g.outputs) outputs_.push_back(value[id]);
}

const Tensors& Session::run(const Tensors& inputs, const Watch& watch) {
  CHECK(inputs.size() == inputs_.size(), "session: ", inputs.size(), " inputs, the graph has ", inputs_.size());
  for (size_t i = 0; i < inputs.size(); ++i) inputs_[i].assign(inputs[i]);
  for (Step& s : steps_) {
    if (s.kernel) s.kernel(Call{s.in, s.out, s.node->attrs.get()});
    if (watch) watch(*s.node, s.out);
  }
  return outputs_;
}

}  // namespace vitrine
