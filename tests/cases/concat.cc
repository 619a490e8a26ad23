#include "engine/ops.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;

AddCase concat_channels({"concat", "channels",
                         [](Maker& m) -> Tensors {
                           return {m.uniform({2, 3, 2, 4}), m.uniform({2, 3, 2, 1}), m.uniform({2, 3, 2, 3})};
                         },
                         [](In x) -> Tensors {
                           return {concat({x[0], x[1], x[0], x[2]}, -1)};
                         },
                         2, true, true});
AddCase concat_rows({"concat", "first axis",
                     [](Maker& m) -> Tensors {
                       return {m.uniform({2, 3}), m.uniform({4, 3})};
                     },
                     [](In x) -> Tensors {
                       return {concat({x[0], x[1]}, 0)};
                     },
                     1, true, true});
AddCase slice_channels({"slice", "inner and outer parts",
                        [](Maker& m) -> Tensors {
                          return {m.uniform({2, 3, 5})};
                        },
                        [](In x) -> Tensors {
                          return {mul(slice(x[0], -1, 1, 4), slice(x[0], -1, 2, 5)), slice(x[0], 1, 0, 2), slice(x[0], 0, 1, 2)};
                        },
                        2});
AddCase slice_long({"slice", "many rows",
                    [](Maker& m) -> Tensors {
                      return {m.integers({5000, 6}, -8, 8)};
                    },
                    [](In x) -> Tensors { return {slice(x[0], 1, 2, 5)}; }, 1, false, true});

}  // namespace
}  // namespace vitrine
