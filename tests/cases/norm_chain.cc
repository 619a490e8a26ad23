#include "quant/ops/norm_chain.h"
#include "engine/ops.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;
using quant::NormChainAttrs;

// x, gamma, beta, running mean and variance, the slope or shortcut, a range.
Tensors channels(Maker& m, Shape x, bool slope) {
  int64_t c = x.back();
  return {m.uniform(x),
          m.uniform({c}, 0.5, 1.5),
          m.uniform({c}),
          m.uniform({c}),
          m.uniform({c}, 0.5, 2),
          slope ? m.uniform({c}) : m.uniform(x),
          Tensor::from({2}, std::vector<float>{-0.25f, 0.5f}).to(m.dtype())};
}
std::function<Tensors(Maker&)> inputs(Shape x, bool slope, bool quantized) {
  return [=](Maker& m) {
    Tensors in = channels(m, x, slope);
    if (!quantized) in.pop_back();
    return in;
  };
}
std::function<Tensors(In)> chain(const char* op, int64_t bits, bool observed, size_t outputs) {
  return [=](In in) {
    auto a = std::make_shared<NormChainAttrs>();
    a->bits = bits, a->observed = observed;
    Tensors out = apply(op_named(op), a, in);
    out.resize(outputs);
    return out;
  };
}
Tensors gradient_inputs(Maker& m) {  // g, x, gamma, beta, mean, rstd, slope
  Tensors in = channels(m, {3, 60, 60, 24}, true);
  return {m.uniform({3, 60, 60, 24}), in[0], in[1], in[2], in[3], in[4], in[5]};
}

AddCase prelu_4d({"batch_norm_prelu", "images", inputs({2, 3, 2, 5}, true, false), chain("batch_norm_prelu", 0, false, 1), 64});
AddCase add_4d({"batch_norm_add", "images", inputs({2, 3, 2, 5}, false, false), chain("batch_norm_add", 0, false, 1), 64});
AddCase statistics({"batch_norm_prelu", "many chunks", inputs({3, 60, 60, 24}, true, false), chain("batch_norm_prelu", 0, false, 5), 4096,
                    false});
AddCase gradient({"batch_norm_prelu_grad", "many chunks", gradient_inputs,
                  [](In in) { return apply(op_named("batch_norm_prelu_grad"), {}, in); }, 65536, false});

}  // namespace
}  // namespace vitrine
