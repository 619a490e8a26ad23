// Chains of fused convolutions: bottlenecks of a size that is cut into strips, and what is run link by link.
#include "engine/ops/conv2d_chain.h"

#include "tests/case.h"

namespace vitrine {
namespace {

struct Link {
  int64_t outputs, kernel, stride, pad, groups;
  int after = 0, prelu = 1, residual = 0;
  int64_t dilation = 1;
};
struct Chain {
  const char* label;
  Shape x;
  std::vector<Link> links;
  bool packed = true;
};

ConvChainAttrs attrs(const Chain& chain) {
  ConvChainAttrs a;
  for (const Link& l : chain.links) {
    FusedConvAttrs f;
    static_cast<Conv2dAttrs&>(f) = Conv2dAttrs(l.stride, l.pad, l.groups, l.dilation);
    f.kh = f.kw = l.kernel, f.after = l.after, f.prelu = l.prelu, f.residual = l.residual;
    a.links.push_back(f);
  }
  return a;
}

// Weights as they are; run() packs them, so that the magnitudes that the bound needs are theirs.
Tensors inputs(Maker& m, const Chain& chain) {
  Tensors in{m.uniform(chain.x)};
  Shape x = chain.x;
  for (const Link& l : chain.links) {
    in.push_back(m.uniform({l.outputs, l.kernel, l.kernel, x[3] / l.groups}, -0.3, 0.3));
    for (int i = 0; i < 1 + 2 * l.after + l.prelu; ++i) in.push_back(m.uniform({l.outputs}, 0.1, 0.4));
    auto side = [&](int64_t from) { return (from + 2 * l.pad - l.dilation * (l.kernel - 1) - 1) / l.stride + 1; };
    x = {x[0], side(x[1]), side(x[2]), l.outputs};
    if (l.residual) in.push_back(m.uniform(x));
  }
  return in;
}

Tensors run(Tensors in, const Chain& chain) {
  size_t next = 1;
  int64_t channels = chain.x[3];
  for (const Link& l : chain.links) {
    PackAttrs pack;
    pack.groups = l.groups;
    if (chain.packed && !(l.groups == channels && l.outputs == channels)) in[next] = conv2d_pack(in[next], pack);
    next += static_cast<size_t>(2 + 2 * l.after + l.prelu + l.residual), channels = l.outputs;
  }
  return {conv2d_chain(in, attrs(chain))};
}

const int registered = [] {
  const Link wide{80, 1, 1, 0, 1}, each{80, 3, 1, 1, 80}, halves{80, 3, 2, 1, 80}, narrow{24, 1, 1, 0, 1, 0, 0},
      sum{24, 1, 1, 0, 1, 1, 0, 1};
  const Link stem{40, 3, 2, 1, 1}, stem_each{40, 3, 1, 1, 40};
  const Chain all[] = {
      {"a bottleneck", {2, 26, 9, 24}, {wide, each, sum}},
      {"a bottleneck of stride 2", {1, 31, 12, 24}, {wide, halves, narrow}},
      {"stem, two depthwise", {1, 61, 21, 3}, {stem, stem_each, wide, halves, narrow}},
      {"rows wider than a cache", {1, 24, 150, 8}, {wide, each, narrow}},
      {"more rows at seams than between them", {1, 7, 5, 24}, {wide, each, narrow}},
      {"depthwise last", {3, 20, 7, 20}, {wide, each}},
      {"of a whole image", {3, 5, 5, 24}, {wide, {80, 5, 1, 0, 80, 1, 0}, {7, 1, 1, 0, 1, 0, 0}}},
      {"dilated", {2, 26, 9, 24}, {wide, {80, 3, 1, 2, 80, 0, 1, 0, 2}, narrow}},
      {"padding beyond the image", {2, 6, 5, 24}, {wide, {80, 3, 1, 5, 80}, narrow}},
      {"nothing divides", {2, 17, 13, 5}, {{37, 1, 1, 0, 1}, {37, 3, 1, 1, 37}, {11, 1, 1, 0, 1, 1, 0}}},
      {"one link", {2, 9, 8, 24}, {wide}},
      {"groups", {2, 14, 8, 24}, {{48, 3, 1, 1, 4}, {48, 3, 1, 1, 48}}},
      {"weights as they are", {1, 14, 8, 24}, {wide, each, sum}, false},
      {"empty batch", {0, 14, 8, 24}, {wide, each, sum}},
  };
  for (const Chain& chain : all) {
    int64_t terms = 0, channels = chain.x[3];
    for (const Link& l : chain.links) terms += l.kernel * l.kernel * channels / l.groups + 8, channels = l.outputs;
    cases().push_back({"conv2d_chain", chain.label, [chain](Maker& m) { return inputs(m, chain); },
                       [chain](const Tensors& in) { return run(in, chain); }, terms, false});
  }
  return 0;
}();

}  // namespace
}  // namespace vitrine
