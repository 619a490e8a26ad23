// The pass behind norm_chain.h: finds batch_norm_train -> prelu or add [-> [observe ->] fake_quant] [-> round_bf16], where each value on
// the way has no other reader, and emits the one operator at the place of the chain's last part.
#include <map>
#include <optional>
#include <set>

#include "engine/ops/batch_norm.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/norm_chain.h"
#include "quant/ops/observe.h"

namespace vitrine::quant {
namespace {

bool is(const GraphNode* n, const char* op) { return n && std::string(n->op->name) == op; }

struct Parts {
  const GraphNode *norm, *then, *observe = nullptr, *quantizer = nullptr, *round = nullptr;
  const GraphNode* last() const { return round ? round : quantizer ? quantizer : then; }
};

class Finder {
 public:
  explicit Finder(const Graph& g) : g_(g) {
    for (const GraphNode& n : g.nodes)
      for (Id id : n.in) readers_[id].push_back(&n);
    for (Id id : g.outputs) readers_[id].push_back(nullptr);
    for (auto& u : g.updates) readers_[u.value].push_back(nullptr);
  }

  std::optional<Parts> chain_from(const GraphNode& norm) {
    if (!is(&norm, "batch_norm_train")) return {};
    Parts p{&norm, only_reader(norm.out[0])};
    if (!(is(p.then, "prelu") || (is(p.then, "add") && same_shapes(*p.then))) || !taken_.insert(p.then).second) return {};
    find_quantizer(p);
    if (const GraphNode* round = only_reader(p.last()->out[0]); is(round, "round_bf16")) p.round = round;
    return p;
  }

 private:
  const GraphNode* only_reader(Id id) const {
    auto it = readers_.find(id);
    return it != readers_.end() && it->second.size() == 1 ? it->second[0] : nullptr;
  }
  bool same_shapes(const GraphNode& n) const { return g_.values[n.in[0]].meta == g_.values[n.in[1]].meta; }
  void find_quantizer(Parts& p) const {
    const Id v = p.then->out[0];
    if (const GraphNode* q = only_reader(v); is(q, "fake_quant")) p.quantizer = q;
    const auto it = readers_.find(v);
    if (it == readers_.end() || it->second.size() != 2) return;
    const GraphNode *observe = it->second[0], *q = it->second[1];
    if (!is(observe, "observe") || !is(q, "fake_quant") || q->in[1] != observe->out[0]) return;
    if (static_cast<ObserveAttrs&>(*observe->attrs).rule == ObserveAttrs::minmax) p.observe = observe, p.quantizer = q;
  }

  const Graph& g_;
  std::map<Id, std::vector<const GraphNode*>> readers_;
  std::set<const GraphNode*> taken_;
};

class Copier {
 public:
  explicit Copier(const Graph& g) : g_(g), to_(g.values.size(), -1) {
    for (size_t i = 0; i < g.values.size(); ++i) {
      const Value& v = g.values[i];
      if (v.kind != Value::Kind::computed) to_[i] = copy_.add_value(v.kind, v.name, v.meta);
    }
  }
  void node(const GraphNode& n) {
    std::vector<Id> in;
    for (Id id : n.in) in.push_back(to_[id]);
    map(n.out, copy_.add_node(*n.op, n.attrs, in));
  }
  void chain(const Parts& p) {
    auto& norm = static_cast<BatchNormTrainAttrs&>(*p.norm->attrs);
    auto a = std::make_shared<NormChainAttrs>();
    a->eps = norm.eps, a->momentum = norm.momentum, a->observed = p.observe != nullptr, a->rounded = p.round != nullptr;
    std::vector<Id> in;
    for (Id id : p.norm->in) in.push_back(to_[id]);
    in.push_back(to_[p.then->in[p.then->in[0] == p.norm->out[0] ? 1 : 0]]);
    if (p.quantizer) {
      a->bits = static_cast<FakeQuantAttrs&>(*p.quantizer->attrs).bits;
      in.push_back(to_[(p.observe ? p.observe : p.quantizer)->in[1]]);
    }
    auto made = copy_.add_node(op_named(is(p.then, "prelu") ? "batch_norm_prelu" : "batch_norm_add"), a, in);
    map(p.norm->out, made);
    to_[p.last()->out[0]] = made[0];
    if (p.observe) to_[p.observe->out[0]] = made[5];
  }
  Graph finish() {
    for (Id id : g_.outputs) copy_.outputs.push_back(to_[id]);
    for (auto& u : g_.updates) copy_.updates.push_back({to_[u.state], to_[u.value]});
    check(copy_);
    return std::move(copy_);
  }

 private:
  void map(const std::vector<Id>& from, const std::vector<Id>& to) {
    for (size_t i = 0; i < from.size(); ++i) to_[from[i]] = to[i];
  }
  const Graph& g_;
  Graph copy_;
  std::vector<Id> to_;
};

}  // namespace

Graph with_norm_chains(const Graph& g) {
  Finder finder(g);
  std::map<const GraphNode*, Parts> by_last;
  std::set<const GraphNode*> inside;
  for (const GraphNode& n : g.nodes)
    if (auto parts = finder.chain_from(n)) {
      by_last[parts->last()] = *parts;
      inside.insert({parts->norm, parts->then});
      for (const GraphNode* n : {parts->observe, parts->quantizer})
        if (n && n != parts->last()) inside.insert(n);
    }
  Copier copier(g);
  for (const GraphNode& n : g.nodes) {
    if (auto it = by_last.find(&n); it != by_last.end())
      copier.chain(it->second);
    else if (!inside.count(&n))
      copier.node(n);
  }
  return copier.finish();
}

}  // namespace vitrine::quant
