#include "engine/ops.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/observe.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;
using namespace quant;
using Inputs = std::function<Tensors(Maker&)>;
using Run = std::function<Tensors(const Tensors&)>;

Tensor range(Maker& m, float lo, float hi) { return Tensor::from({2}, std::vector<float>{lo, hi}).to(m.dtype()); }

// x uniform in [low, high), and a range.
Inputs uniform(Shape s, double low, double high, float lo, float hi) {
  return [=](Maker& m) { return Tensors{m.uniform(s, low, high), range(m, lo, hi)}; };
}
Inputs half_integers() {
  return [](Maker& m) { return Tensors{mul_scalar(m.integers({200}, -6, 130), 0.5), range(m, -1, 62)}; };
}
Inputs weights(Shape s, double low, double high) {
  return [=](Maker& m) { return Tensors{m.uniform(s, low, high)}; };
}
Run to_bits(int64_t bits) {
  return [=](In x) { return Tensors{fake_quant(x[0], x[1], bits)}; };
}
Run weight_to_bits(int64_t bits, bool per_channel, bool mse = false) {
  return [=](In x) { return Tensors{fake_quant_weight(x[0], bits, per_channel, mse)}; };
}
Tensors widened(In x) { return {observe(x[0], x[1])}; }
Run by_rule(ObserveAttrs::Rule rule, int64_t bits = 8) {
  ObserveAttrs a;
  a.rule = rule, a.bits = bits;
  return [=](In x) { return Tensors{observe(x[0], x[1], a)}; };
}
Tensors clipped(In x) { return {clip(x[0], x[1])}; }
Tensors masked(In x) { return {clip_grad(x[0], x[1], x[2])}; }
Tensors with_gradient(Maker& m) { return {m.uniform({3, 7, 5}), range(m, -0.5f, 0.75f), m.uniform({3, 7, 5})}; }

AddCase w6({"fake_quant", "6 bits, inside and outside the range", uniform({3, 7, 5}, -5, 7, -1, 2), to_bits(6), 16, true});
AddCase w16({"fake_quant", "16 bits", uniform({37}, -1, 2, -1, 2), to_bits(16), 16, true});
AddCase ties({"fake_quant", "ties", half_integers(), to_bits(6), 16, true});
AddCase shifted({"fake_quant", "range without zero", uniform({4, 5}, -1, 1, 0.2f, 0.3f), to_bits(6), 16, true});
AddCase many({"fake_quant", "many chunks", uniform({200003}, -2, 3, -1, 2), to_bits(8), 16, false});
AddCase no_images({"fake_quant", "empty batch", uniform({0, 3}, -1, 1, -1, 2), to_bits(8), 16, true});

AddCase kernels({"fake_quant_weight", "per output channel", weights({4, 3, 3, 5}, -1, 1), weight_to_bits(6, true), 16, true});
AddCase rows({"fake_quant_weight", "rows of a large matrix", weights({17, 9001}, -1, 1), weight_to_bits(8, true), 16, false});
AddCase slopes({"fake_quant_weight", "one range for all", weights({64}, 0.1, 0.4), weight_to_bits(6, false), 16, true});

AddCase widens({"observe", "widens", uniform({3, 7}, -1, 1, -0.25f, 0.5f), widened, 16, false, true});
AddCase keeps({"observe", "keeps a wider range", uniform({3, 7}, -1, 1, -2, 3), widened, 16, false, true});
AddCase long_list({"observe", "many chunks", uniform({300007}, -3, 4, -0.25f, 0.5f), widened, 16, false, true});

AddCase kernels_mse({"fake_quant_weight", "least error per channel", weights({5, 3, 3, 7}, -1, 1), weight_to_bits(3, true, true), 16,
                     true});

Inputs wide() { return uniform({2500003}, -3, 4, -0.25f, 0.5f); }  // several chunks with a histogram each
AddCase ema({"observe", "moving average", uniform({3, 7}, -1, 1, -0.25f, 0.5f), by_rule(ObserveAttrs::ema), 16, false, true});
AddCase order({"observe", "percentile", wide(), by_rule(ObserveAttrs::percentile), 16, false, true});
AddCase least({"observe", "least error", wide(), by_rule(ObserveAttrs::mse, 4), 16, false, true});
AddCase fresh({"observe", "least error, first batch", uniform({300}, -1, 2, 0, 0), by_rule(ObserveAttrs::mse, 2), 16, false, true});

// Not differentiable here: that the range gets no gradient is meant (QuantOpTest has the derivative by x).
AddCase limits({"clip", "inside and outside", uniform({3, 7, 5}, -1, 1, -0.5f, 0.75f), clipped, 16, false, true});
AddCase limits_many({"clip", "many chunks", uniform({50003}, -1, 1, -0.5f, 0.75f), clipped, 16, false, true});
AddCase mask({"clip_grad", "inside and outside", with_gradient, masked, 16, false, true});

}  // namespace
}  // namespace vitrine
