// Rounding to bf16, and the operators that read or write it.
#include "engine/ops.h"
#include "quant/ops/norm_chain.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;

AddCase rounds({"round_bf16", "many chunks",
                [](Maker& m) {
                  return Tensors{m.uniform({5, 7001}, -300, 300)};
                },
                [](In in) { return Tensors{round_bf16(in[0])}; }, 16, false, true});

Tensors image_and_weights(Maker& m) { return {m.uniform({2, 5, 4, 3}), m.uniform({4, 3, 3, 3}), m.uniform({2, 5, 4, 4})}; }
AddCase reads({"conv2d", "x in bf16", image_and_weights, [](In in) { return Tensors{conv2d(round_bf16(in[0]), in[1], Conv2dAttrs(1, 1))}; },
               64, false});
AddCase reads_both({"conv2d_grad_w", "x and g in bf16", image_and_weights,
                    [](In in) { return Tensors{conv2d_grad_w(round_bf16(in[0]), round_bf16(in[2]), Conv2dAttrs(1, 1), 3, 3)}; }, 64,
                    false});
AddCase reads_one({"conv2d_grad_x", "g in bf16, two groups",
                   [](Maker& m) {
                     return Tensors{m.uniform({2, 5, 4, 4}), m.uniform({4, 3, 3, 3})};
                   },
                   [](In in) { return Tensors{conv2d_grad_x(round_bf16(in[0]), in[1], Conv2dAttrs(1, 1, 2), 5, 4)}; }, 64, false});

AddCase writes({"batch_norm_prelu", "rounded",
                [](Maker& m) {
                  return Tensors{m.uniform({2, 3, 2, 5}), m.uniform({5}, 0.5, 1.5), m.uniform({5}),
                                 m.uniform({5}),          m.uniform({5}, 0.5, 2),   m.uniform({5})};
                },
                [](In in) {
                  auto a = std::make_shared<quant::NormChainAttrs>();
                  a->rounded = 1;
                  return Tensors{apply(op_named("batch_norm_prelu"), a, in)[0]};
                },
                1 << 17, false});

}  // namespace
}  // namespace vitrine
