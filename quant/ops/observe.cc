#include "quant/ops/observe.h"

#include "quant/ops/fake_quant.h"

namespace vitrine::quant {
namespace {

Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<ObserveAttrs&>(*attrs);
  check_range(in);
  check_bits(a.bits);
  CHECK(a.rule >= ObserveAttrs::minmax && a.rule <= ObserveAttrs::mse, "rule=", a.rule, ": expected 0 to 3");
  CHECK(a.momentum >= 0 && a.momentum < 1, "momentum=", a.momentum, ": expected 0 to below 1");
  CHECK(a.keep > 50 && a.keep <= 100, "keep=", a.keep, ": expected a percentile above 50");
  return {in[1]};
}

const OpDef& op = define<ObserveAttrs>({.name = "observe", .infer = infer});

}  // namespace

int64_t observer_named(const std::string& name) {
  int64_t rule = 0;
  for (const char* known : {"minmax", "ema", "percentile", "mse"}) {
    if (name == known) return rule;
    ++rule;
  }
  throw Error(cat("observer '", name, "': expected minmax, ema, percentile or mse"));
}

Tensor observe(const Tensor& x, const Tensor& range, const ObserveAttrs& a) {
  return apply1(op, std::make_shared<ObserveAttrs>(a), {x, range});
}

}  // namespace vitrine::quant
