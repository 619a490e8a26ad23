// To bf16 and back, and the operators that read or write it.
#include "engine/ops.h"
#include "engine/ops/conv2d_fused.h"
#include "quant/ops/norm_chain.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;

Tensor half(const Tensor& x) { return cast(x, Dtype::bf16); }

AddCase rounds({"cast", "to bf16, many chunks",
                [](Maker& m) {
                  return Tensors{m.uniform({5, 7001}, -300, 300)};
                },
                [](In in) { return Tensors{half(in[0])}; }, 16, false, true});
AddCase widens({"cast", "to bf16 and back",
                [](Maker& m) {
                  return Tensors{m.uniform({5, 7001}, -300, 300)};
                },
                [](In in) { return Tensors{cast(half(in[0]), in[0].dtype())}; }, 16, false, true});

// What is written in bf16 may fall on the other side of a rounding: 2^-8 of it, whatever the number of terms.
Tensors image_and_weights(Maker& m) { return {m.uniform({2, 5, 4, 3}), m.uniform({4, 3, 3, 3}), m.uniform({2, 5, 4, 4})}; }
AddCase reads({"conv2d", "x in bf16", image_and_weights, [](In in) { return Tensors{conv2d(half(in[0]), in[1], Conv2dAttrs(1, 1))}; },
               1 << 17, false});
AddCase reads_both({"conv2d_grad_w", "x and g in bf16", image_and_weights,
                    [](In in) { return Tensors{conv2d_grad_w(half(in[0]), half(in[2]), Conv2dAttrs(1, 1), 3, 3)}; }, 64, false});
AddCase reads_one({"conv2d_grad_x", "g in bf16, two groups",
                   [](Maker& m) {
                     return Tensors{m.uniform({2, 5, 4, 4}), m.uniform({4, 3, 3, 3})};
                   },
                   [](In in) { return Tensors{conv2d_grad_x(half(in[0]), in[1], Conv2dAttrs(1, 1, 2), 5, 4)}; }, 1 << 17, false});

// The inference form: x and weights in bf16 or not, y in bf16 or not, all that it may take over.
Case fused_conv(const char* label, bool half_in, bool rounded, bool everything) {
  FusedConvAttrs a;
  static_cast<Conv2dAttrs&>(a) = Conv2dAttrs(1, 1);
  a.kh = a.kw = 3, a.rounded = rounded, a.before = a.prelu = a.residual = everything;
  return {"conv2d_fused",
          label,
          [](Maker& m) {
            return Tensors{m.uniform({2, 5, 4, 3}),  m.uniform({4, 3, 3, 3}), m.uniform({4}), m.uniform({3}),
                           m.uniform({3}, 0.5, 1.5), m.uniform({3}),          m.uniform({4}), m.uniform({2, 5, 4, 4})};
          },
          [=](In in) {
            Tensors all(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(a.inputs()));
            if (half_in) all[0] = half(all[0]), all[1] = half(all[1]);
            return Tensors{conv2d_fused(all, a)};
          },
          rounded ? 1 << 17 : 64,
          false};
}
AddCase fused_reads(fused_conv("x and weights in bf16", true, false, true));
AddCase fused_writes(fused_conv("y in bf16", false, true, true));
AddCase fused_both(fused_conv("all in bf16", true, true, false));

// x as it is and in bf16, y as it is and in bf16; and the gradients.
Tensors norm_inputs(Maker& m) {
  return {m.uniform({2, 3, 2, 5}), m.uniform({5}, 0.5, 1.5), m.uniform({5}),         m.uniform({5}),
          m.uniform({5}, 0.5, 2),  m.uniform({5}),           m.uniform({2, 3, 2, 5})};
}
Tensors norm(In in, const char* op, size_t count, bool reads_half, bool rounded) {
  AttrsPtr a = op_named(op).attrs();
  static_cast<BatchNormTrainAttrs&>(*a).rounded = rounded;
  Tensors all(in.begin(), in.begin() + count);
  if (reads_half) all[0] = half(all[0]);
  if (count == 6 && std::string(op) == "batch_norm_add") all[5] = in[6];
  return {apply(op_named(op), a, all)[0]};
}
AddCase norm_writes({"batch_norm_train", "y in bf16", norm_inputs, [](In in) { return norm(in, "batch_norm_train", 5, false, true); },
                     1 << 17, false});
AddCase norm_reads({"batch_norm_train", "x in bf16", norm_inputs, [](In in) { return norm(in, "batch_norm_train", 5, true, false); },
                    1 << 17, false});
AddCase prelu_writes({"batch_norm_prelu", "y in bf16", norm_inputs, [](In in) { return norm(in, "batch_norm_prelu", 6, false, true); },
                      1 << 17, false});
AddCase prelu_both({"batch_norm_prelu", "x and y in bf16", norm_inputs, [](In in) { return norm(in, "batch_norm_prelu", 6, true, true); },
                    1 << 17, false});
AddCase add_reads({"batch_norm_add", "x in bf16", norm_inputs, [](In in) { return norm(in, "batch_norm_add", 6, true, false); }, 1 << 17,
                   false});

Tensors norm_gradients(In in, bool half_g, bool half_x) {
  Tensors some{half_g ? half(in[6]) : in[6], half_x ? half(in[0]) : in[0], in[1], in[3], in[4]}, with_slope = some;
  with_slope.insert(with_slope.begin() + 3, in[2]), with_slope.push_back(in[5]);
  Tensors d = apply(op_named("batch_norm_grad"), {}, some), more = apply(op_named("batch_norm_prelu_grad"), {}, with_slope);
  d.insert(d.end(), more.begin(), more.end());
  return d;
}
AddCase grad_half({"batch_norm_grad", "g in bf16", norm_inputs, [](In in) { return norm_gradients(in, true, false); }, 1 << 17, false});
AddCase grad_of_half({"batch_norm_grad", "x in bf16", norm_inputs, [](In in) { return norm_gradients(in, false, true); }, 1 << 17, false});
AddCase grad_in_half({"batch_norm_grad", "g and x in bf16", norm_inputs, [](In in) { return norm_gradients(in, true, true); }, 1 << 17,
                      false});

}  // namespace
}  // namespace vitrine
