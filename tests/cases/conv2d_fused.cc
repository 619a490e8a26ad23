// The fused convolution with everything it can take over, direct and by Winograd.
#include "engine/ops/conv2d_fused.h"

#include "tests/case.h"

namespace vitrine {
namespace {

struct Fused {
  const char* label;
  Shape x, w;  // N,H,W,C and O,kh,kw,C/groups
  FusedConvAttrs a;
};

FusedConvAttrs attrs(int64_t stride, int64_t pad, int64_t groups = 1) {
  FusedConvAttrs a;
  static_cast<Conv2dAttrs&>(a) = Conv2dAttrs(stride, pad, groups);
  return a;
}
FusedConvAttrs with(FusedConvAttrs a, int before, int after, int prelu, int residual, int winograd = 0) {
  a.before = before, a.after = after, a.prelu = prelu, a.residual = residual, a.winograd = winograd;
  return a;
}

// Terms of the bound. A direct sum is one chain and five steps behind it. By Winograd, |y - exact| <= eps * (C + 40) * G * sum |x| |w| for
// inputs of even magnitude: C + 40 counts the roundings on the way of a product (both transforms, the packed weight, its chain, the steps
// behind), and G how much larger the terms are than those of the direct sum: 7.92 on each axis, the largest row sum of
// |A^T| (|G| |w|) (|B^T| |x|) for ones, over 3.
constexpr int64_t kWinogradGrowth = 63;

int64_t terms(const Fused& f) { return f.a.winograd ? kWinogradGrowth * (f.w[3] + 40) : f.w.product(1, 4) + 8; }

Tensors inputs(Maker& m, const Fused& f) {
  const int64_t c = f.x[3], o = f.w[0];
  Tensors in{m.uniform(f.x), m.uniform(f.w), m.uniform({o})};
  for (int i = 0; i < 3 * f.a.before; ++i) in.push_back(i == 1 ? m.uniform({c}, 0.5, 1.5) : m.uniform({c}, -0.1, 0.1));
  for (int i = 0; i < 2 * f.a.after; ++i) in.push_back(i == 1 ? m.uniform({o}, 0.5, 1.5) : m.uniform({o}, -0.1, 0.1));
  if (f.a.prelu) in.push_back(m.uniform({o}, 0.1, 0.4));
  Shape y{f.x[0], (f.x[1] + 2 * f.a.pad_h - f.w[1]) / f.a.stride_h + 1, (f.x[2] + 2 * f.a.pad_w - f.w[2]) / f.a.stride_w + 1, o};
  if (f.a.residual) in.push_back(m.uniform(y));
  return in;
}

// Packs inside, so that the magnitude that the bound needs is that of |w|.
Tensors run(Tensors in, const FusedConvAttrs& a, bool packed = true) {
  if (!packed) return {conv2d_fused(in, a)};
  PackAttrs pack;
  pack.groups = a.groups, pack.winograd = a.winograd;
  const int64_t c = in[0].shape()[3];
  if (a.groups != c || c != in[1].shape()[0]) in[1] = conv2d_pack(in[1], pack);
  return {conv2d_fused(in, a)};
}

const int registered = [] {
  const Fused all[] = {
      {"plain", {2, 5, 4, 3}, {4, 3, 3, 3}, attrs(1, 1)},
      {"everything", {2, 9, 7, 5}, {37, 3, 3, 5}, with(attrs(1, 1), 1, 1, 1, 1)},
      {"stride 2", {3, 15, 13, 18}, {70, 3, 3, 18}, with(attrs(2, 1), 0, 0, 1, 1)},
      {"before a 1x1", {2, 6, 5, 33}, {40, 1, 1, 33}, with(attrs(1, 0), 1, 0, 0, 0)},
      {"matrix", {5, 1, 1, 300}, {50, 1, 1, 300}, with(attrs(1, 0), 0, 1, 0, 0)},
      {"groups", {2, 9, 10, 24}, {96, 3, 3, 6}, with(attrs(1, 1, 4), 1, 1, 1, 1)},
      {"depthwise", {2, 8, 9, 35}, {35, 3, 3, 1}, with(attrs(1, 1, 35), 0, 1, 1, 1)},
      {"empty batch", {0, 8, 9, 5}, {4, 3, 3, 5}, with(attrs(1, 1), 1, 1, 1, 1)},
      {"winograd", {2, 12, 8, 16}, {32, 3, 3, 16}, with(attrs(1, 1), 0, 0, 0, 0, 1)},
      {"winograd, everything, nothing divides", {3, 13, 11, 37}, {45, 3, 3, 37}, with(attrs(1, 1), 1, 1, 1, 1, 1)},
      {"winograd, no padding", {1, 7, 6, 20}, {70, 3, 3, 20}, with(attrs(1, 0), 1, 0, 1, 0, 1)},
      {"winograd, one pixel", {1, 1, 1, 3}, {5, 3, 3, 3}, with(attrs(1, 1), 0, 0, 1, 1, 1)},
      {"winograd, empty batch", {0, 4, 4, 3}, {5, 3, 3, 3}, with(attrs(1, 1), 0, 0, 1, 1, 1)},
  };
  for (bool packed : {true, false})
    for (Fused f : all) {
      if (!packed && (f.a.winograd || f.a.groups == f.x[3])) continue;  // always packed; never packed
      f.a.kh = f.w[1], f.a.kw = f.w[2];
      cases().push_back({"conv2d_fused", cat(f.label, packed ? "" : ", weights as they are"), [f](Maker& m) { return inputs(m, f); },
                         [a = f.a, packed](const Tensors& in) { return run(in, a, packed); }, terms(f), false});
    }
  auto pack = [](const char* label, Shape w, PackAttrs a) {
    cases().push_back({"conv2d_pack", label, [w](Maker& m) { return Tensors{m.uniform(w)}; },
                       [a](const Tensors& in) { return Tensors{conv2d_pack(in[0], a)}; }, 16, false, true});
  };
  PackAttrs groups, winograd;
  groups.groups = 2, winograd.winograd = 1;
  pack("panels", {64, 3, 3, 3}, {});
  pack("panels of two groups", {128, 3, 2, 3}, groups);
  pack("winograd", {64, 3, 3, 5}, winograd);
  return 0;
}();

}  // namespace
}  // namespace vitrine
