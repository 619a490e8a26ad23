// round_bf16: to bf16, to nearest even. A convolution widens what it reads in bf16 (conv2d.h), so this is where its precision goes.
#include "engine/ops.h"
#include "engine/ops/shapes.h"
#include "engine/ops/ties.h"

namespace vitrine {
namespace {

const OpDef& op = define({
    .name = "round_bf16",
    .infer = [](const Metas& in, Attrs*) -> Metas {
      check_float(in, 1);
      return {{in[0].shape, Dtype::bf16, in[0].device}};
    },
    .backward = [](const Back& b) -> Tensors { return {b.grad[0]}; },
    .ties = tie_elementwise,
    .surrogate = Surrogate::identity_of_first,
    .saves_in = 0,
});

}  // namespace

Tensor round_bf16(const Tensor& x) { return apply1(op, {}, {x}); }

}  // namespace vitrine
