#include "engine/ops/sgd.h"

#include "tests/case.h"

namespace vitrine {
namespace {

Tensors three(Maker& m, Shape s) { return {m.uniform(s), m.uniform(s), m.uniform(s)}; }

// A negative rate, so that nothing cancels on the absolute values that give the magnitude.
SgdAttrs recipe() {
  SgdAttrs a;
  a.lr = -0.1, a.momentum = 0.9, a.weight_decay = 5e-4, a.scale = 0.7;
  return a;
}
Tensors step(const Tensors& x, SgdAttrs a) {
  auto r = sgd_step(x[0], x[1], x[2], a);
  return {r.w, r.v};
}

AddCase nesterov({"sgd_step", "nesterov",
                  [](Maker& m) {
                    return three(m, {3, 7});
                  },
                  [](const Tensors& x) {
                    SgdAttrs a = recipe();
                    a.nesterov = 1;
                    return step(x, a);
                  },
                  16, false});
AddCase heavy_ball({"sgd_step", "plain momentum",
                    [](Maker& m) {
                      return three(m, {3, 7});
                    },
                    [](const Tensors& x) { return step(x, recipe()); }, 16, false});
AddCase first({"sgd_step", "first step, many chunks", [](Maker& m) { return three(m, {100003}); },
               [](const Tensors& x) {
                 SgdAttrs a = recipe();
                 a.nesterov = a.first = 1;
                 return step(x, a);
               },
               16, false});

}  // namespace
}  // namespace vitrine
