#include "tools/sizes.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "quant/lower.h"
#include "quant/ops/fake_quant.h"

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

// Of each weight of a convolution or matrix that has a quantizer, or that QuantFace would give one of these bits. (Slopes of PReLU have
// one, too, but are stored as they are.)
std::map<Id, int64_t> bits_of_weights(const Graph& g, bool quantized, int64_t weight_bits) {
  std::map<Id, int64_t> bits;
  std::map<Id, const GraphNode*> quantizer;  // by output
  for (const GraphNode& n : g.nodes) {
    if (is(n, "fake_quant_weight")) quantizer[n.out[0]] = &n;
    if (!is(n, "conv2d") && !is(n, "matmul")) continue;
    if (const auto q = quantizer.find(n.in[1]); q != quantizer.end())
      bits[q->second->in[0]] = static_cast<quant::FakeQuantWeightAttrs&>(*q->second->attrs).bits;
    else if (!quantized && g.values[n.in[1]].kind == Value::Kind::parameter)
      bits[n.in[1]] = weight_bits;
  }
  return bits;
}
int64_t activation_quantizers(const Graph& g, bool quantized) {
  const auto computed = [&](Id id) { return g.values[id].kind == Value::Kind::computed; };
  return std::count_if(g.nodes.begin(), g.nodes.end(), [&](const GraphNode& n) {
    return quantized ? is(n, "fake_quant") : is(n, "prelu") || (is(n, "add") && computed(n.in[0]) && computed(n.in[1]));
  });
}

}  // namespace

Sizes sizes(const Graph& g, int64_t weight_bits) {
  if (quant::is_packed(g)) return sizes_of_packed(g);
  const bool quantized = std::any_of(g.nodes.begin(), g.nodes.end(), [](const GraphNode& n) { return is(n, "fake_quant_weight"); });
  const std::map<Id, int64_t> bits = bits_of_weights(g, quantized, weight_bits);
  Sizes s;
  int64_t coded = 0;  // bits
  for (size_t i = 0; i < g.values.size(); ++i) {
    const Value& v = g.values[i];
    if (v.kind == Value::Kind::parameter) s.float_bytes += 4 * v.meta.numel();
    if (const auto found = bits.find(static_cast<Id>(i)); found != bits.end())
      coded += v.meta.numel() * found->second, s.packed_bytes += 8 * v.meta.shape[0];
    else if (v.kind == Value::Kind::parameter || (v.kind == Value::Kind::buffer && !v.name.ends_with(".range")))
      s.packed_bytes += 4 * v.meta.numel();
  }
  s.packed_bytes += (coded + 7) / 8 + 8 * activation_quantizers(g, quantized);
  return s;
}

Sizes sizes(const Model& m, int64_t weight_bits) {
  Sizes s = sizes(m.graph, weight_bits);
  if (quant::is_packed(m.graph)) return s;
  try {
    if (const Model packed = quant::lower(m); quant::is_packed(packed.graph)) s.packed_bytes = sizes_of_packed(packed.graph).packed_bytes;
  } catch (const Error&) {  // it is not quantized, or has no ranges yet
  }
  return s;
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
