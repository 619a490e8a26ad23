// Operators that only training uses.
#include "engine/ops.h"
#include "engine/ops/classify.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;
using Inputs = std::function<Tensors(Maker&)>;

Inputs logits(Shape s, double range) {
  return [=](Maker& m) { return Tensors{m.uniform(s, -range, range), m.indices({s[0]}, s[1])}; };
}
Tensors entropy(In x) { return {cross_entropy(x[0], x[1])}; }

AddCase entropy_small({"cross_entropy", "small logits", logits({5, 7}, 2), entropy});
AddCase entropy_scaled({"cross_entropy", "logits of a head", logits({6, 11}, 20), entropy});
AddCase entropy_huge({"cross_entropy", "logits that overflow exp", logits({4, 5}, 4000), entropy, 16, false});
AddCase entropy_one({"cross_entropy", "many chunks", logits({300, 211}, 3), entropy, 16, false});
AddCase entropy_none({"cross_entropy", "empty batch", logits({0, 3}, 1), entropy});

// Cosines away from +-1, where the derivative is infinite, and off the angle at which `falling` changes the rule.
Inputs cosines() {
  return [](Maker& m) { return Tensors{m.uniform({9, 6}, -0.8, 0.95), m.indices({9}, 6)}; };
}
auto with(double m1, double m2, double m3, bool falling = false, bool straight = false) {
  return [=](In x) {
    MarginAttrs a;
    a.m1 = m1, a.m2 = m2, a.m3 = m3, a.falling = falling;
    return Tensors{margin(x[0], x[1], a, straight)};
  };
}
AddCase arcface({"margin", "arcface", cosines(), with(1, 0.5, 0)});
AddCase cosface({"margin", "cosface", cosines(), with(1, 0, 0.4)});
AddCase combined({"margin", "all three", cosines(), with(1.2, 0.3, 0.2)});
AddCase falling({"margin", "falling",
                 [](Maker& m) {
                   return Tensors{m.uniform({9, 2}, -0.99, -0.93), m.indices({9}, 2)};
                 },
                 with(1, 0.4, 0, true)});
AddCase straight({"margin_straight", "arcface", cosines(), with(1, 0.5, 0, false, true)});
AddCase margin_chunks({"margin", "many chunks",
                       [](Maker& m) {
                         return Tensors{m.uniform({300, 211}, -0.9, 0.9), m.indices({300}, 211)};
                       },
                       with(1, 0.5, 0), 16, false});

Inputs dropped(Shape s) {
  return [=](Maker& m) { return Tensors{m.uniform(s), Tensor::full({}, 41, Dtype::i64)}; };
}
AddCase dropout_odd({"dropout", "last block is not whole", dropped({3, 7}), [](In x) { return Tensors{dropout(x[0], x[1], 0.4, 5).y}; }});
AddCase dropout_chunks({"dropout", "many chunks", dropped({5, 13001}), [](In x) { return Tensors{dropout(x[0], x[1], 0.1, 5).y}; }, 16,
                        false});

}  // namespace
}  // namespace vitrine
