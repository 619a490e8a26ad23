#include "engine/ops/optimiser.h"

#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

const Meta kNorm{{2}, Dtype::f64};

Metas infer_norm(const Metas& in, Attrs*) {
  check_float(in, in.size());
  return {kNorm};
}

// rates, norm, then `in_each` tensors of equal Meta for each parameter, of which `out_each` are made anew.
Metas infer_step(const Metas& in, int64_t rates, size_t in_each, size_t out_each) {
  CHECK(in.size() > 2 && (in.size() - 2) % in_each == 0, in.size(), " inputs: expected rates, norm, and ", in_each, " for each parameter");
  CHECK(in[0].dtype == Dtype::f64 && in[0].shape == Shape({rates}) && in[1].dtype == Dtype::f64 && in[1].shape == kNorm.shape, "rates ",
        str(in[0]), ", norm ", str(in[1]), ": expected f64[", rates, "], f64[2]");
  Metas out;
  for (size_t i = 2; i < in.size(); ++i) {
    const Meta& w = in[i - (i - 2) % in_each];
    CHECK(is_float(in[i].dtype) && in[i].dtype == in[2].dtype && in[i].shape == w.shape, "input ", i, " is ", str(in[i]),
          ", its parameter ", str(w));
    if ((i - 2) % in_each < out_each) out.push_back(w);
  }
  return out;
}

const OpDef& norm_op = define<NormAttrs>({.name = "gradient_norm", .infer = infer_norm});
const OpDef& sgd_op = define<SgdAttrs>({.name = "sgd_step", .infer = [](const Metas& in, Attrs*) { return infer_step(in, 1, 3, 2); }});
const OpDef& adamw_op =
    define<AdamWAttrs>({.name = "adamw_step", .infer = [](const Metas& in, Attrs*) { return infer_step(in, 3, 4, 3); }});

template <class A>
Tensors step(const OpDef& op, const Tensor& rates, const Tensor& norm, const Tensors& parameters, const A& attrs) {
  Tensors in{rates, norm};
  in.insert(in.end(), parameters.begin(), parameters.end());
  return apply(op, std::make_shared<A>(attrs), std::move(in));
}

}  // namespace

Tensor gradient_norm(const Tensors& gradients, double clip) {
  NormAttrs a;
  a.clip = clip;
  return apply1(norm_op, std::make_shared<NormAttrs>(a), gradients);
}

Tensors sgd_step(const Tensor& rates, const Tensor& norm, const Tensors& parameters, const SgdAttrs& attrs) {
  return step(sgd_op, rates, norm, parameters, attrs);
}

SgdResult sgd_step(const Tensor& w, const Tensor& g, const Tensor& v, const SgdAttrs& attrs, double lr, double factor) {
  auto list = [&](const std::vector<double>& values) { return Tensor::from({static_cast<int64_t>(values.size())}, values).to(w.device()); };
  auto out = sgd_step(list({lr}), list({0, factor}), {w, g, v}, attrs);
  return {out[0], out[1]};
}

Tensors adamw_step(const Tensor& rates, const Tensor& norm, const Tensors& parameters, const AdamWAttrs& attrs) {
  return step(adamw_op, rates, norm, parameters, attrs);
}

void run_in_place(const char* name, const AttrsPtr& attrs, const Tensors& in, Tensors out) {
  const OpDef& op = op_named(name);
  Metas metas;
  for (const Tensor& t : in) metas.push_back(t.meta());
  const Metas want = op.infer(metas, attrs.get());
  CHECK(want.size() == out.size(), name, ": ", out.size(), " places for ", want.size(), " results");
  for (size_t i = 0; i < out.size(); ++i)
    CHECK(want[i].shape == out[i].shape() && want[i].dtype == out[i].dtype() && in[0].device() == out[i].device(), name, ": place ", i,
          " is ", str(out[i].meta()), ", expected ", str(want[i]));
  op.kernel[static_cast<int>(in[0].device())](Call{in, out, attrs.get()});
  for (Tensor& t : out) t.mutate();
}

}  // namespace vitrine
