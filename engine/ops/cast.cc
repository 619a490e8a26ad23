// cast: to another of f32, f64 and bf16, to nearest even. The gradient is cast back.
#include "engine/ops/cast.h"

#include <algorithm>

#include "engine/ops.h"
#include "engine/ops/shapes.h"
#include "engine/ops/ties.h"

namespace vitrine {
namespace {

Metas infer(const Metas& in, Attrs* attrs) {
  const Dtype to = static_cast<CastAttrs*>(attrs)->dtype;
  CHECK(in.size() == 1, "cast: ", in.size(), " inputs, expected 1");
  for (Dtype d : {in[0].dtype, to}) CHECK(is_float(d) || d == Dtype::bf16, "cast: expected f32, f64 or bf16, got ", info(d).name);
  return {{in[0].shape, to, in[0].device}};
}

const OpDef& op = define<CastAttrs>({
    .name = "cast",
    .infer = infer,
    .backward = [](const Back& b) -> Tensors { return {cast(b.grad[0], b.in[0].dtype())}; },
    .ties = tie_elementwise,
    .surrogate = Surrogate::identity_of_first,
    .saves_in = 0,
});

}  // namespace

Tensor cast(const Tensor& x, Dtype dtype) {
  if (x.dtype() == dtype) return x;
  auto a = std::make_shared<CastAttrs>();
  a->dtype = dtype;
  return apply1(op, a, {x});
}

void convert(const Tensor& from, const Tensor& to) {
  Tensors out{to};
  op.kernel[static_cast<int>(from.device())]({{from}, out, nullptr});
}
Tensor converted(const Tensor& t, Dtype dtype) {
  if (t.dtype() == dtype) return t;
  const Tensor to = Tensor::empty({t.shape(), dtype, t.device()});
  convert(t, to);
  return to;
}

void in_one_dtype(const Call& call, Kernel kernel) {
  const auto is_wide = [](const Tensor& t) { return t.dtype() != Dtype::bf16; };
  if (std::all_of(call.in.begin(), call.in.end(), is_wide) && std::all_of(call.out.begin(), call.out.end(), is_wide)) return kernel(call);
  const auto first = std::find_if(call.in.begin(), call.in.end(), is_wide);
  const Dtype dtype = first == call.in.end() ? Dtype::f32 : first->dtype();
  Tensors in = call.in, out = call.out;
  for (Tensor& t : in)
    if (!is_wide(t)) t = converted(t, dtype);
  for (Tensor& t : out)
    if (!is_wide(t)) t = Tensor::empty({t.shape(), dtype, t.device()});
  kernel({in, out, call.attrs});
  for (size_t i = 0; i < out.size(); ++i)
    if (!is_wide(call.out[i])) convert(out[i], call.out[i]);
}

}  // namespace vitrine
