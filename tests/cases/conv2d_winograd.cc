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

// The bound's terms: as in conv2d_fused.cc. Of the weights' gradient, the chain is a block of tiles and the number of blocks; the growth on
// each axis is 7.08: the largest row sum of |G^T| (|A| |g|) (|B^T| |x|) for ones, over 4.
int64_t terms(int64_t channels) { return 63 * (channels + 40); }
int64_t grad_w_terms(const Shape& y) { return 51 * (224 + y.product(0, 3) / 16 + 40); }

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
  if (g.x[0] == 0) return;  // dW is zero: nothing to compare
  WinogradGradAttrs a;
  a.pad_h = g.pad_h, a.pad_w = g.pad_w;
  const Shape y{g.x[0], g.x[1] + 2 * g.pad_h - 2, g.x[2] + 2 * g.pad_w - 2, g.w[0]};
  cases().push_back({"conv2d_winograd_grad_w", g.label,
                     [x = g.x, y](Maker& m) {
                       return Tensors{m.uniform(x), m.uniform(y)};
                     },
                     [a](const Tensors& in) { return Tensors{conv2d_winograd_grad_w(in[0], in[1], a)}; }, grad_w_terms(y), differentiable});
}

const int registered = [] {
  const Geometry small[] = {{"one tile", {1, 4, 4, 2}, {3, 3, 3, 2}},         {"nothing divides", {2, 5, 6, 3}, {2, 3, 3, 3}},
                            {"no padding", {1, 6, 4, 2}, {2, 3, 3, 2}, 0, 0}, {"wide padding", {1, 3, 2, 2}, {2, 3, 3, 2}, 2, 1},
                            {"one pixel", {1, 1, 1, 3}, {5, 3, 3, 3}},        {"empty batch", {0, 4, 4, 3}, {5, 3, 3, 3}}};
  const Geometry large[] = {{"large", {3, 13, 11, 37}, {45, 3, 3, 37}}, {"several blocks", {9, 24, 20, 16}, {32, 3, 3, 16}}};
  for (auto& g : small) add(g, g.x[0] > 0);
  for (auto& g : large) add(g, false);
  return 0;
}();

}  // namespace
}  // namespace vitrine
