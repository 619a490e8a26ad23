#include "engine/ops/optimiser.h"
#include "engine/ops.h"

#include "tests/case.h"

namespace vitrine {
namespace {

// `each` tensors for every shape.
Tensors several(Maker& m, const std::vector<Shape>& shapes, int each) {
  Tensors all;
  for (const Shape& s : shapes)
    for (int i = 0; i < each; ++i) all.push_back(m.uniform(s));
  return all;
}
Tensor numbers(const std::vector<double>& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v); }

// More parameters than a launch takes, of different sizes, some empty.
std::vector<Shape> many() {
  std::vector<Shape> shapes;
  for (int64_t i = 0; i < 260; ++i) shapes.push_back({i % 5, i % 3});
  return shapes;
}

AddCase norm({"gradient_norm", "chunks, a rest and an empty tensor",
              [](Maker& m) {
                return several(m, {{3, 7}, {2 * kNormChunk + 300}, {0, 4}, {}}, 1);
              },
              [](const Tensors& x) { return Tensors{gradient_norm(x, 0.25)}; }, 16, false});
AddCase long_list({"gradient_norm", "many, not clipped", [](Maker& m) { return several(m, many(), 1); },
                   [](const Tensors& x) { return Tensors{gradient_norm(x, 0)}; }, 16, false});

// Rates as a difference, which stays the same on absolute values: one is negative, so that nothing cancels on those, which give the
// magnitude. Then the norm; then the parameters.
Tensors with_rates(const std::vector<double>& plus, const std::vector<double>& minus, const Tensors& parameters) {
  Tensors all{numbers(plus), numbers(minus), numbers({3, 0.7})};
  all.insert(all.end(), parameters.begin(), parameters.end());
  return all;
}
Tensors sgd_inputs(const Tensors& parameters) { return with_rates({0}, {0.1}, parameters); }
Tensors sgd(const Tensors& x, int64_t nesterov, int64_t first) {
  SgdAttrs a;
  a.momentum = 0.9, a.weight_decay = 5e-4, a.nesterov = nesterov, a.first = first;
  return sgd_step(sub(x[0], x[1]), x[2], {x.begin() + 3, x.end()}, a);
}
AddCase nesterov({"sgd_step", "nesterov, two parameters",
                  [](Maker& m) {
                    return sgd_inputs(several(m, {{3, 7}, {5}}, 3));
                  },
                  [](const Tensors& x) { return sgd(x, 1, 0); }, 16, false});
AddCase heavy_ball({"sgd_step", "plain momentum, many parameters", [](Maker& m) { return sgd_inputs(several(m, many(), 3)); },
                    [](const Tensors& x) { return sgd(x, 0, 0); }, 16, false});
AddCase first({"sgd_step", "first step, many chunks", [](Maker& m) { return sgd_inputs(several(m, {{100003}}, 3)); },
               [](const Tensors& x) { return sgd(x, 1, 1); }, 16, false});

Tensors adamw_inputs(Tensors parameters) {
  for (size_t i = 3; i < parameters.size(); i += 4) parameters[i] = square(parameters[i]);  // averages of squares
  return with_rates({0.99, 0, 1.5}, {0, 0.1, 0}, parameters);
}
Tensors adamw(const Tensors& x, int64_t first) {
  AdamWAttrs a;
  a.eps = 0.1, a.first = first;
  return adamw_step(sub(x[0], x[1]), x[2], {x.begin() + 3, x.end()}, a);
}
AddCase adamw_next({"adamw_step", "three parameters",
                    [](Maker& m) {
                      return adamw_inputs(several(m, {{3, 7}, {}, {5000}}, 4));
                    },
                    [](const Tensors& x) { return adamw(x, 0); }, 64, false});
AddCase adamw_first({"adamw_step", "first step", [](Maker& m) { return adamw_inputs(several(m, {{40}}, 4)); },
                     [](const Tensors& x) { return adamw(x, 1); }, 64, false});

}  // namespace
}  // namespace vitrine
