#include "engine/ops.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;

AddCase sum_all({"sum", "all",
                 [](Maker& m) -> Tensors {
                   return {m.uniform({3, 4, 5})};
                 },
                 [](In x) -> Tensors { return {sum(x[0])}; }, 60});
AddCase sum_last({"sum", "last axis kept",
                  [](Maker& m) -> Tensors {
                    return {m.uniform({3, 4, 5})};
                  },
                  [](In x) -> Tensors { return {sum(x[0], {-1}, true)}; }});
AddCase sum_lead({"sum", "per channel",
                  [](Maker& m) -> Tensors {
                    return {m.uniform({2, 3, 4, 5})};
                  },
                  [](In x) -> Tensors {
                    return {sum(x[0], {0, 1, 2})};
                  },
                  24});
AddCase sum_middle({"sum", "middle",
                    [](Maker& m) -> Tensors {
                      return {m.uniform({2, 3, 4, 5})};
                    },
                    [](In x) -> Tensors {
                      return {sum(x[0], {1, 2})};
                    }});
AddCase sum_apart({"sum", "axes apart",
                   [](Maker& m) -> Tensors {
                     return {m.uniform({2, 3, 4})};
                   },
                   [](In x) -> Tensors {
                     return {sum(x[0], {0, 2}, true)};
                   }});
AddCase sum_long({"sum", "many chunks", [](Maker& m) -> Tensors { return {m.integers({200000}, -8, 8)}; },
                  [](In x) -> Tensors { return {sum(x[0])}; }, 16, false, true});
AddCase mean_rows({"sum", "mean",
                   [](Maker& m) -> Tensors {
                     return {m.uniform({4, 6})};
                   },
                   [](In x) -> Tensors { return {mean(x[0], {1})}; }});
AddCase min_max({"min", "and max",
                 [](Maker& m) -> Tensors {
                   return {m.distinct({4, 3, 6})};
                 },
                 [](In x) -> Tensors {
                   return {min(x[0], {0, 1}), max(x[0]), max(x[0], {2})};
                 },
                 16, false, true});
AddCase one_sign({"min", "and max, of one sign",
                  [](Maker& m) -> Tensors {
                    return {m.uniform({3, 50}, 0.5, 1.5)};
                  },
                  [](In x) -> Tensors {
                    return {min(x[0], {1}), max(mul_scalar(x[0], -1))};
                  },
                  16, false, true});
AddCase expand_case({"expand", "two axes",
                     [](Maker& m) -> Tensors {
                       return {m.uniform({3, 1})};
                     },
                     [](In x) -> Tensors {
                       return {expand(x[0], {2, 3, 4})};
                     }});
AddCase sum_to_case({"sum", "sum_to",
                     [](Maker& m) -> Tensors {
                       return {m.uniform({2, 3, 4})};
                     },
                     [](In x) -> Tensors {
                       return {sum_to(x[0], {3, 1})};
                     }});

AddCase reshape_case({"reshape", "inferred",
                      [](Maker& m) -> Tensors {
                        return {m.uniform({2, 3, 4})};
                      },
                      [](In x) -> Tensors {
                        return {mul(reshape(x[0], {0, -1}), reshape(x[0], {2, 12}))};
                      }});
AddCase transpose_case({"transpose", "three axes",
                        [](Maker& m) -> Tensors {
                          return {m.uniform({2, 3, 4})};
                        },
                        [](In x) -> Tensors {
                          return {transpose(x[0], {2, 0, 1})};
                        },
                        1, true, true});
AddCase gather_case({"gather", "rows twice",
                     [](Maker& m) -> Tensors {
                       return {m.uniform({4, 3}), m.indices({7}, 4)};
                     },
                     [](In x) -> Tensors { return {gather(x[0], x[1])}; }, 1, true, true});
AddCase scatter_case({"scatter_add", "",
                      [](Maker& m) -> Tensors {
                        return {m.uniform({7, 2}), m.indices({7}, 4)};
                      },
                      [](In x) -> Tensors { return {scatter_add(x[0], x[1], 5)}; }});
AddCase sort_case({"sort", "descending", [](Maker& m) -> Tensors { return {m.distinct({23})}; },
                   [](In x) -> Tensors { return {sort(x[0], true).values}; }, 1, true, true});
AddCase sort_up({"sort", "ascending", [](Maker& m) -> Tensors { return {m.distinct({23})}; },
                 [](In x) -> Tensors { return {sort(x[0], false).values}; }, 1, true, true});

}  // namespace
}  // namespace vitrine
