#include "engine/ops.h"
#include "quant/ops/fake_quant.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;
using namespace quant;

Tensor range(Maker& m, float lo, float hi) { return Tensor::from({2}, std::vector<float>{lo, hi}).to(m.dtype()); }

// An f64 tensor is quantized through f32, so both dtypes must agree to the bit: `exact`.
AddCase w6({"fake_quant", "6 bits, inside and outside the range", [](Maker& m) -> Tensors { return {m.uniform({3, 7, 5}, -5, 7), range(m, -1, 2)}; },
            [](In x) -> Tensors { return {fake_quant(x[0], x[1], 6)}; }, 16, true, true});
AddCase w16({"fake_quant", "16 bits", [](Maker& m) -> Tensors { return {m.uniform({37}, -1, 2), range(m, -1, 2)}; },
             [](In x) -> Tensors { return {fake_quant(x[0], x[1], 16)}; }, 16, true, true});
AddCase ties({"fake_quant", "ties", [](Maker& m) -> Tensors { return {mul_scalar(m.integers({200}, -6, 130), 0.5), range(m, -1, 62)}; },
              [](In x) -> Tensors { return {fake_quant(x[0], x[1], 6)}; }, 16, true, true});
AddCase shifted({"fake_quant", "range without zero", [](Maker& m) -> Tensors { return {m.uniform({4, 5}), range(m, 0.2f, 0.3f)}; },
                 [](In x) -> Tensors { return {fake_quant(x[0], x[1], 6)}; }, 16, true, true});
AddCase many({"fake_quant", "many chunks", [](Maker& m) -> Tensors { return {m.uniform({200003}, -2, 3), range(m, -1, 2)}; },
              [](In x) -> Tensors { return {fake_quant(x[0], x[1], 8)}; }, 16, false, true});
AddCase no_images({"fake_quant", "empty batch", [](Maker& m) -> Tensors { return {m.uniform({0, 3}), range(m, -1, 2)}; },
                   [](In x) -> Tensors { return {fake_quant(x[0], x[1], 8)}; }, 16, true, true});

AddCase kernels({"fake_quant_weight", "per output channel", [](Maker& m) -> Tensors { return {m.uniform({4, 3, 3, 5})}; },
                 [](In x) -> Tensors { return {fake_quant_weight(x[0], 6, true)}; }, 16, true, true});
AddCase rows({"fake_quant_weight", "rows of a large matrix", [](Maker& m) -> Tensors { return {m.uniform({17, 9001})}; },
              [](In x) -> Tensors { return {fake_quant_weight(x[0], 8, true)}; }, 16, false, true});
AddCase slopes({"fake_quant_weight", "one range for all", [](Maker& m) -> Tensors { return {m.uniform({64}, 0.1, 0.4)}; },
                [](In x) -> Tensors { return {fake_quant_weight(x[0], 6, false)}; }, 16, true, true});

AddCase widens({"observe", "widens", [](Maker& m) -> Tensors { return {m.uniform({3, 7}), range(m, -0.25f, 0.5f)}; },
                [](In x) -> Tensors { return {observe(x[0], x[1])}; }, 16, false, true});
AddCase keeps({"observe", "keeps a wider range", [](Maker& m) -> Tensors { return {m.uniform({3, 7}), range(m, -2, 3)}; },
               [](In x) -> Tensors { return {observe(x[0], x[1])}; }, 16, false, true});
AddCase long_list({"observe", "many chunks", [](Maker& m) -> Tensors { return {m.distinct({300007}), range(m, -0.25f, 0.5f)}; },
                   [](In x) -> Tensors { return {observe(x[0], x[1])}; }, 16, false, true});

}  // namespace
}  // namespace vitrine
