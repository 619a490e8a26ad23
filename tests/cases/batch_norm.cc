#include "engine/ops.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;

Tensors channels(Maker& m, Shape x) {
  int64_t c = x.back();
  return {m.uniform(x), m.uniform({c}, 0.5, 1.5), m.uniform({c}), m.uniform({c}), m.uniform({c}, 0.5, 2)};
}
Tensors eval(In x) { return {batch_norm(x[0], x[1], x[2], x[3], x[4])}; }
Tensors statistics(In x) {
  auto t = batch_norm_train(x[0], x[1], x[2], x[3], x[4]);
  return {t.y, t.mean, t.rstd, t.running_mean, t.running_var};
}

AddCase eval_4d({"batch_norm", "images", [](Maker& m) { return channels(m, {2, 3, 2, 5}); }, eval});
AddCase eval_2d({"batch_norm", "features", [](Maker& m) { return channels(m, {4, 7}); }, eval});
AddCase eval_empty({"batch_norm", "empty batch", [](Maker& m) { return channels(m, {0, 7}); }, eval});
AddCase train_4d({"batch_norm_train", "images",
                  [](Maker& m) {
                    return channels(m, {2, 3, 2, 5});
                  },
                  [](In x) -> Tensors { return {batch_norm_train(x[0], x[1], x[2], x[3], x[4]).y}; }, 64});
AddCase train_chunks({"batch_norm_train", "many chunks", [](Maker& m) { return channels(m, {3, 60, 60, 24}); }, statistics, 4096, false});

AddCase prelu_4d({"prelu", "images",
                  [](Maker& m) -> Tensors {
                    return {m.away_from_zero({2, 3, 2, 5}), m.uniform({5})};
                  },
                  [](In x) -> Tensors { return {prelu(x[0], x[1])}; }});
AddCase prelu_empty({"prelu", "empty batch",
                     [](Maker& m) -> Tensors {
                       return {m.uniform({0, 5}), m.uniform({5})};
                     },
                     [](In x) -> Tensors { return {prelu(x[0], x[1])}; }});
AddCase prelu_chunks({"prelu_grad", "many chunks",
                      [](Maker& m) -> Tensors {
                        return {m.away_from_zero({3, 60, 60, 24}), m.uniform({24}), m.uniform({3, 60, 60, 24})};
                      },
                      [](In x) { return apply(op_named("prelu_grad"), {}, x); }, 65536, false});

AddCase normalize_case({"l2_normalize", "rows",
                        [](Maker& m) -> Tensors {
                          return {m.uniform({4, 9})};
                        },
                        [](In x) -> Tensors { return {l2_normalize(x[0])}; }});
AddCase normalize_short({"l2_normalize", "row under eps",
                         [](Maker& m) -> Tensors {
                           return {m.uniform({2, 3})};
                         },
                         [](In x) -> Tensors { return {l2_normalize(x[0], 10)}; }});
AddCase linear_case({"matmul", "linear with bias",
                     [](Maker& m) -> Tensors {
                       return {m.uniform({3, 7}), m.uniform({5, 7}), m.uniform({5})};
                     },
                     [](In x) -> Tensors { return {linear(x[0], x[1], x[2])}; }});

}  // namespace
}  // namespace vitrine
