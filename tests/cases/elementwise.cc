#include "engine/ops.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;

AddCase relu_case({"relu", "signs",
                   [](Maker& m) -> Tensors {
                     return {m.away_from_zero({3, 7})};
                   },
                   [](In x) -> Tensors { return {relu(x[0])}; }});
AddCase sigmoid_case({"sigmoid", "wide", [](Maker& m) -> Tensors { return {m.uniform({37}, -8, 8)}; },
                      [](In x) -> Tensors { return {sigmoid(x[0])}; }});
AddCase square_case({"square", "",
                     [](Maker& m) -> Tensors {
                       return {m.uniform({2, 3, 4})};
                     },
                     [](In x) -> Tensors { return {square(x[0])}; }});
AddCase sqrt_case({"sqrt", "", [](Maker& m) -> Tensors { return {m.uniform({17}, 0.1, 4)}; },
                   [](In x) -> Tensors { return {sqrt(x[0])}; }});
AddCase exp_case({"exp", "", [](Maker& m) -> Tensors { return {m.uniform({17}, -3, 3)}; }, [](In x) -> Tensors { return {exp(x[0])}; }});
AddCase log_case({"log", "", [](Maker& m) -> Tensors { return {m.uniform({17}, 0.1, 4)}; }, [](In x) -> Tensors { return {log(x[0])}; }});
AddCase abs_case({"abs", "", [](Maker& m) -> Tensors { return {m.away_from_zero({19})}; }, [](In x) -> Tensors { return {abs(x[0])}; }});
AddCase add_scalar_case({"add_scalar", "", [](Maker& m) -> Tensors { return {m.uniform({19})}; },
                         [](In x) -> Tensors { return {add_scalar(x[0], 0.3)}; }});
AddCase mul_scalar_case({"mul_scalar", "", [](Maker& m) -> Tensors { return {m.uniform({19})}; },
                         [](In x) -> Tensors { return {mul_scalar(x[0], -1.7)}; }});
AddCase clamp_case({"clamp", "both ends", [](Maker& m) -> Tensors { return {m.away_from_zero({41}, 0.01)}; },
                    [](In x) -> Tensors { return {clamp(x[0], -0.500003, 0.500003)}; }});
AddCase large_case({"relu", "many chunks", [](Maker& m) -> Tensors { return {m.away_from_zero({70000})}; },
                    [](In x) -> Tensors { return {sum(relu(x[0]), {0})}; }, 70000, false});

AddCase add_same({"add", "same shape",
                  [](Maker& m) -> Tensors {
                    return {m.uniform({3, 5}), m.uniform({3, 5})};
                  },
                  [](In x) -> Tensors { return {add(x[0], x[1])}; }});
AddCase add_channel({"add", "per channel",
                     [](Maker& m) -> Tensors {
                       return {m.uniform({2, 3, 2, 5}), m.uniform({5})};
                     },
                     [](In x) -> Tensors { return {add(x[0], x[1])}; }});
AddCase sub_both({"sub", "both broadcast",
                  [](Maker& m) -> Tensors {
                    return {m.uniform({4, 1, 3}), m.uniform({2, 1})};
                  },
                  [](In x) -> Tensors { return {sub(x[0], x[1])}; }});
AddCase mul_scalar_tensor({"mul", "scalar tensor",
                           [](Maker& m) -> Tensors {
                             return {m.uniform({4, 3}), m.uniform({})};
                           },
                           [](In x) -> Tensors { return {mul(x[0], x[1])}; }});
AddCase mul_gate({"mul", "gating N,1,1,C",
                  [](Maker& m) -> Tensors {
                    return {m.uniform({2, 3, 2, 4}), m.uniform({2, 1, 1, 4})};
                  },
                  [](In x) -> Tensors { return {mul(x[0], x[1])}; }});
AddCase mul_self({"mul", "by itself", [](Maker& m) -> Tensors { return {m.uniform({11})}; },
                  [](In x) -> Tensors { return {mul(x[0], x[0])}; }});
AddCase div_rows({"div", "rows",
                  [](Maker& m) -> Tensors {
                    return {m.uniform({4, 3}), m.uniform({4, 1}, 0.5, 2)};
                  },
                  [](In x) -> Tensors { return {div(x[0], x[1])}; }});
AddCase empty_case({"add", "empty batch",
                    [](Maker& m) -> Tensors {
                      return {m.uniform({0, 3}), m.uniform({3})};
                    },
                    [](In x) -> Tensors { return {add(x[0], x[1])}; }});

}  // namespace
}  // namespace vitrine
