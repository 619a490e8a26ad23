// One row per geometry; each gives a case for all three operators, since each is the gradient of the others.
#include "engine/ops/conv2d.h"

#include <algorithm>

#include "tests/case.h"

namespace vitrine {
namespace {

struct Geometry {
  const char* label;
  Shape x, w;  // N,H,W,C and O,kh,kw,C/groups
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;

  Conv2dAttrs attrs() const {
    Conv2dAttrs a;
    a.stride_h = stride_h, a.stride_w = stride_w, a.pad_h = pad_h, a.pad_w = pad_w;
    a.dilation_h = dilation_h, a.dilation_w = dilation_w, a.groups = groups;
    return a;
  }
  Shape y() const {
    return {x[0], (x[1] + 2 * pad_h - dilation_h * (w[1] - 1) - 1) / stride_h + 1,
            (x[2] + 2 * pad_w - dilation_w * (w[2] - 1) - 1) / stride_w + 1, w[0]};
  }
  // The longest chain of the three directions.
  int64_t terms() const { return std::max({w.product(1, 4), w.product(0, 3), y().product(0, 3), int64_t{16}}); }
};

using In = const Tensors&;

const Geometry kGeometries[] = {
    {.label = "3x3", .x = {2, 5, 4, 3}, .w = {4, 3, 3, 3}, .pad_h = 1, .pad_w = 1},
    {.label = "3x3 stride 2, odd size", .x = {1, 7, 5, 2}, .w = {3, 3, 3, 2}, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1},
    {.label = "3x3 stride 2, even size", .x = {1, 6, 4, 2}, .w = {3, 3, 3, 2}, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1},
    {.label = "1x1", .x = {2, 3, 3, 5}, .w = {7, 1, 1, 5}},
    {.label = "1x1 stride 2", .x = {2, 5, 4, 3}, .w = {6, 1, 1, 3}, .stride_h = 2, .stride_w = 2},
    {.label = "1x1 padded", .x = {1, 2, 3, 2}, .w = {3, 1, 1, 2}, .pad_h = 1, .pad_w = 2},
    {.label = "7x6 over the whole image", .x = {2, 7, 6, 1}, .w = {2, 7, 6, 1}},
    {.label = "7x6 depthwise over the whole image", .x = {2, 7, 6, 2}, .w = {2, 7, 6, 1}, .groups = 2},
    {.label = "everything different on the two axes",
     .x = {1, 9, 8, 2},
     .w = {2, 3, 2, 2},
     .stride_h = 1,
     .stride_w = 3,
     .pad_h = 0,
     .pad_w = 2,
     .dilation_h = 3,
     .dilation_w = 2},
    {.label = "two groups", .x = {1, 4, 5, 4}, .w = {6, 3, 3, 2}, .pad_h = 1, .pad_w = 1, .groups = 2},
    {.label = "groups of two channels, stride 2",
     .x = {1, 5, 4, 6},
     .w = {6, 3, 3, 2},
     .stride_h = 2,
     .stride_w = 2,
     .pad_h = 1,
     .pad_w = 1,
     .groups = 3},
    {.label = "depthwise", .x = {2, 4, 5, 3}, .w = {3, 3, 3, 1}, .pad_h = 1, .pad_w = 1, .groups = 3},
    {.label = "depthwise stride 2",
     .x = {1, 7, 5, 3},
     .w = {3, 3, 3, 1},
     .stride_h = 2,
     .stride_w = 2,
     .pad_h = 1,
     .pad_w = 1,
     .groups = 3},
    {.label = "depthwise dilated",
     .x = {1, 6, 6, 2},
     .w = {2, 3, 3, 1},
     .pad_h = 2,
     .pad_w = 2,
     .dilation_h = 2,
     .dilation_w = 2,
     .groups = 2},
    {.label = "depthwise, two outputs per channel", .x = {1, 4, 4, 3}, .w = {6, 3, 3, 1}, .pad_h = 1, .pad_w = 1, .groups = 3},
    {.label = "padding wider than the kernel", .x = {1, 2, 2, 2}, .w = {2, 2, 2, 2}, .pad_h = 3, .pad_w = 3},
    {.label = "pixels that no output sees", .x = {1, 6, 6, 2}, .w = {2, 2, 2, 2}, .stride_h = 4, .stride_w = 3},
    {.label = "one pixel", .x = {1, 1, 1, 3}, .w = {5, 3, 3, 3}, .pad_h = 1, .pad_w = 1},
    {.label = "empty batch", .x = {0, 4, 4, 3}, .w = {4, 3, 3, 3}, .pad_h = 1, .pad_w = 1},
    {.label = "empty batch, depthwise", .x = {0, 4, 4, 3}, .w = {3, 3, 3, 1}, .pad_h = 1, .pad_w = 1, .groups = 3},
};
// Wider than a vector and than a tile, several pixel blocks; too many elements for finite differences.
const Geometry kLarge[] = {
    {.label = "large 3x3", .x = {3, 17, 19, 37}, .w = {45, 3, 3, 37}, .pad_h = 1, .pad_w = 1},
    {.label = "large 3x3 stride 2", .x = {2, 15, 31, 18}, .w = {70, 3, 3, 18}, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1},
    {.label = "large 1x1", .x = {3, 13, 11, 40}, .w = {33, 1, 1, 40}},
    {.label = "large depthwise", .x = {3, 18, 15, 83}, .w = {83, 3, 3, 1}, .pad_h = 1, .pad_w = 1, .groups = 83},
    {.label = "large groups", .x = {2, 9, 10, 40}, .w = {48, 3, 3, 10}, .pad_h = 1, .pad_w = 1, .groups = 4},
    {.label = "stem", .x = {2, 33, 29, 3}, .w = {64, 3, 3, 3}, .pad_h = 1, .pad_w = 1},
};

void add(const Geometry& g, bool differentiable) {
  Conv2dAttrs a = g.attrs();
  auto add_case = [&](const char* op, Shape first, Shape second, std::function<Tensors(In)> run) {
    cases().push_back({op, g.label,
                       [=](Maker& m) -> Tensors {
                         return {m.uniform(first), m.uniform(second)};
                       },
                       std::move(run), g.terms(), differentiable});
  };
  add_case("conv2d", g.x, g.w, [a](In in) -> Tensors { return {conv2d(in[0], in[1], a)}; });
  add_case("conv2d_grad_x", g.y(), g.w, [a, x = g.x](In in) -> Tensors { return {conv2d_grad_x(in[0], in[1], a, x[1], x[2])}; });
  if (g.x[0] == 0) return;  // dW is zero: nothing to compare
  add_case("conv2d_grad_w", g.x, g.y(), [a, w = g.w](In in) -> Tensors { return {conv2d_grad_w(in[0], in[1], a, w[1], w[2])}; });
}

const int registered = [] {
  for (const Geometry& g : kGeometries) add(g, true);
  for (const Geometry& g : kLarge) add(g, false);
  return 0;
}();

}  // namespace
}  // namespace vitrine
