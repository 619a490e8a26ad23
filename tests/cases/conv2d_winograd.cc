// Winograd's convolution, forward and as the gradient for x that it is when mirrored.
#include "engine/ops/conv2d_winograd.h"

#include "tests/case.h"

namespace vitrine {
namespace {

struct Geometry {
  const char* label;
  Shape x, w;  // N,H,W,C and O,3,3,C
  int64_t pad_h = 1, pad_w = 1;
};

// The bound's terms: as in conv2d_fused.cc.
int64_t terms(int64_t channels) { return 63 * (channels + 40); }

void add(const Geometry& g, bool differentiable) {
  for (int64_t mirrored : {0, 1}) {
    WinogradAttrs a;
    a.pad_h = g.pad_h, a.pad_w = g.pad_w, a.mirrored = mirrored;
    const Shape w = mirrored ? Shape{g.w[3], 3, 3, g.w[0]} : g.w;
    cases().push_back({"conv2d_winograd", cat(g.label, mirrored ? ", mirrored" : ""),
                       [x = g.x, w](Maker& m) {
                         return Tensors{m.uniform(x), m.uniform(w)};
                       },
                       [a](const Tensors& in) { return Tensors{conv2d_winograd(in[0], in[1], a)}; }, terms(g.x[3]), differentiable});
  }
}

const int registered = [] {
  const Geometry small[] = {{"one tile", {1, 4, 4, 2}, {3, 3, 3, 2}},         {"nothing divides", {2, 5, 6, 3}, {2, 3, 3, 3}},
                            {"no padding", {1, 6, 4, 2}, {2, 3, 3, 2}, 0, 0}, {"wide padding", {1, 3, 2, 2}, {2, 3, 3, 2}, 2, 1},
                            {"one pixel", {1, 1, 1, 3}, {5, 3, 3, 3}},        {"empty batch", {0, 4, 4, 3}, {5, 3, 3, 3}}};
  const Geometry large[] = {{"large", {3, 13, 11, 37}, {45, 3, 3, 37}}, {"many tiles", {9, 16, 12, 16}, {32, 3, 3, 16}}};
  for (auto& g : small) add(g, g.x[0] > 0);
  for (auto& g : large) add(g, false);
  return 0;
}();

}  // namespace
}  // namespace vitrine
