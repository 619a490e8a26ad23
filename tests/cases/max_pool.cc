#include "engine/ops.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using In = const Tensors&;

// Values without ties: the derivative at a tie is a choice.
AddCase overlapping({"max_pool", "3x3 stride 2 padding 1, as behind a stem",
                     [](Maker& m) -> Tensors {
                       return {m.distinct({2, 7, 6, 3})};
                     },
                     [](In x) -> Tensors { return {max_pool(x[0], PoolAttrs(3, 2, 1))}; }, 1, true, true});
AddCase apart({"max_pool", "2x3 stride 3x2, pixels that no window holds",
               [](Maker& m) -> Tensors {
                 return {m.distinct({1, 8, 9, 2})};
               },
               [](In x) -> Tensors {
                 PoolAttrs a;
                 a.kernel_h = 2, a.kernel_w = 3, a.stride_h = 3, a.stride_w = 2, a.pad_w = 1;
                 return {max_pool(x[0], a)};
               },
               1, true, true});
AddCase subsampled({"max_pool", "1x1 stride 2, a shortcut",
                    [](Maker& m) -> Tensors {
                      return {m.distinct({2, 5, 4, 33})};
                    },
                    [](In x) -> Tensors { return {max_pool(x[0], PoolAttrs(1, 2))}; }, 1, true, true});
AddCase tied({"max_pool", "ties",
              [](Maker& m) -> Tensors {
                return {m.integers({3, 9, 9, 5}, -2, 3)};
              },
              [](In x) -> Tensors { return {max_pool(x[0], PoolAttrs(3, 1, 1))}; }, 1, false, true});

}  // namespace
}  // namespace vitrine
