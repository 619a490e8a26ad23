#include "tools/sizes.h"

#include <cmath>
#include <set>

#include "quant/lower.h"

namespace vitrine::tools {
namespace {

Sizes sizes_of_packed(const Graph& g) {
  Sizes s;
  for (const Value& v : g.values) {
    if (v.kind == Value::Kind::parameter) s.float_bytes += 4 * v.meta.numel();
    if (v.kind == Value::Kind::parameter || v.kind == Value::Kind::buffer) s.packed_bytes += v.meta.nbytes();
  }
  return s;
}

}  // namespace

Sizes sizes(const Graph& g, int64_t weight_bits) {
  if (quant::is_packed(g)) return sizes_of_packed(g);
  std::map<Id, Id> behind;  // output of fake_quant_weight -> the weight
  std::set<Id> weights;
  int64_t activations = 0, rows = 0, quantizable = 0, floats = 0, params = 0;
  for (const GraphNode& n : g.nodes) {
    if (is(n, "fake_quant_weight")) behind[n.out[0]] = n.in[0];
    if (is(n, "prelu")) ++activations;
    if (is(n, "add") && g.values[n.in[0]].kind == Value::Kind::computed && g.values[n.in[1]].kind == Value::Kind::computed) ++activations;
    if (!is(n, "conv2d") && !is(n, "matmul")) continue;
    Id w = behind.count(n.in[1]) ? behind[n.in[1]] : n.in[1];
    if (g.values[w].kind == Value::Kind::parameter) weights.insert(w);
  }
  for (size_t i = 0; i < g.values.size(); ++i) {
    const Value& v = g.values[i];
    if (v.kind == Value::Kind::parameter) params += v.meta.numel();
    if (weights.count(static_cast<Id>(i)))
      quantizable += v.meta.numel(), rows += v.meta.shape[0];
    else if (v.kind == Value::Kind::parameter || (v.kind == Value::Kind::buffer && !v.name.ends_with(".range")))
      floats += v.meta.numel();
  }
  return {4 * params, (quantizable * weight_bits + 7) / 8 + 4 * floats + 8 * rows + 8 * activations};
}

int64_t state_dict_bytes(const Graph& g) {
  int64_t bytes = 0;
  for (const Value& v : g.values)
    if (v.kind == Value::Kind::parameter || (v.kind == Value::Kind::buffer && !v.name.ends_with(".range"))) bytes += v.meta.nbytes();
  for (const GraphNode& n : g.nodes)
    if (is(n, "batch_norm")) bytes += 8;
  return bytes;
}

double size_by_bits(double full, int64_t bits) { return full * static_cast<double>(bits) / 32; }
double size_by_quantface(double full, int64_t bits) { return full / (std::floor(3200.0 / static_cast<double>(bits)) / 100); }

}  // namespace vitrine::tools
