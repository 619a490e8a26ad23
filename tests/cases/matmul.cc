#include "engine/ops/matmul.h"

#include <algorithm>
#include <string>

#include "tests/case.h"

namespace vitrine {
namespace {

struct Extents {
  int64_t m, n, k;
};

void add(Extents e, bool ta, bool tb, bool differentiable) {
  std::string label = std::to_string(e.m) + "x" + std::to_string(e.n) + "x" + std::to_string(e.k) + (ta ? " a^T" : "") + (tb ? " b^T" : "");
  Shape a = ta ? Shape{e.k, e.m} : Shape{e.m, e.k}, b = tb ? Shape{e.n, e.k} : Shape{e.k, e.n};
  cases().push_back({"matmul", label,
                     [=](Maker& m) -> Tensors {
                       return {m.uniform(a), m.uniform(b)};
                     },
                     [=](const Tensors& in) -> Tensors { return {matmul(in[0], in[1], ta, tb)}; }, std::max({e.m, e.n, e.k, int64_t{16}}),
                     differentiable});
}

const int registered = [] {
  for (bool ta : {false, true})
    for (bool tb : {false, true}) {
      for (Extents e : {Extents{3, 4, 5}, {1, 7, 9}, {8, 1, 3}, {4, 4, 1}, {0, 3, 2}, {3, 0, 2}}) add(e, ta, tb, true);
      for (Extents e : {Extents{65, 47, 33}, {1, 64, 1025}, {17, 35, 700}}) add(e, ta, tb, false);
    }
  return 0;
}();

}  // namespace
}  // namespace vitrine
