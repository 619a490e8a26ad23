// The pass behind norm_chain.h: finds batch_norm_train [-> prelu or add [-> [observe ->] fake_quant]] [-> cast to bf16], where each value
// on the way has no other reader, and emits the one operator at the place of the chain's last part.
#include <map>
#include <optional>
#include <set>

#include "engine/ops/batch_norm.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/norm_chain.h"
#include "quant/ops/observe.h"

namespace vitrine::quant {
namespace {

struct Parts {
  const GraphNode *norm, *then = nullptr, *observe = nullptr, *quantizer = nullptr, *round = nullptr;
  const GraphNode* last() const { return round ? round : quantizer ? quantizer : then ? then : norm; }
};

class Finder {
 public:
  explicit Finder(const Graph& g) : g_(g), readers_(g) {}

  std::optional<Parts> chain_from(const GraphNode& norm) {
    if (!is(&norm, "batch_norm_train")) return {};
    Parts p{&norm};
    const GraphNode* then = readers_.sole(norm.out[0]);
    if ((is(then, "prelu") || (is(then, "add") && same_shapes(*then))) && taken_.insert(then).second) p.then = then, find_quantizer(p);
    const Id value = p.last()->out[0];
    if (const GraphNode* round = readers_.sole(value); is(round, "cast") && g_.values[round->out[0]].meta.dtype == Dtype::bf16)
      p.round = round;
    if (p.last() == &norm) return {};
    return p;
  }

 private:
  bool same_shapes(const GraphNode& n) const { return g_.values[n.in[0]].meta == g_.values[n.in[1]].meta; }
  void find_quantizer(Parts& p) const {
    const Id v = p.then->out[0];
    if (const GraphNode* q = readers_.sole(v); is(q, "fake_quant")) p.quantizer = q;
    if (readers_.of(v).size() != 2) return;
    const GraphNode *observe = readers_.of(v)[0], *q = readers_.of(v)[1];
    if (!is(observe, "observe") || !is(q, "fake_quant") || q->in[1] != observe->out[0]) return;
    if (static_cast<ObserveAttrs&>(*observe->attrs).rule == ObserveAttrs::minmax) p.observe = observe, p.quantizer = q;
  }

  const Graph& g_;
  const Readers readers_;
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
  // batch_norm_train -> cast to bf16.
  void rounded(const Parts& p) {
    auto a = std::make_shared<BatchNormTrainAttrs>(static_cast<BatchNormTrainAttrs&>(*p.norm->attrs));
    a->rounded = 1;
    node({p.norm->op, a, p.norm->in, p.norm->out});
    to_[p.round->out[0]] = to_[p.norm->out[0]];
  }
  void chain(const Parts& p) {
    if (!p.then) return rounded(p);
    auto& norm = static_cast<BatchNormTrainAttrs&>(*p.norm->attrs);
    auto a = std::make_shared<NormChainAttrs>();
    static_cast<BatchNormTrainAttrs&>(*a) = norm;
    a->observed = p.observe != nullptr, a->rounded = p.round != nullptr;
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
      for (const GraphNode* n : {parts->norm, parts->then, parts->observe, parts->quantizer})
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
