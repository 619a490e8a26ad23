#include "bench/layers.h"

#include <algorithm>
#include <tuple>

#include "engine/ops/conv2d.h"
#include "nn/network.h"

namespace vitrine::bench {
namespace {

cpu::ConvShape shape_of(const GraphNode& n, const Graph& g, int64_t batch) {
  const Shape &x = g.values[n.in[0]].meta.shape, &w = g.values[n.in[1]].meta.shape, &y = g.values[n.out[0]].meta.shape;
  if (x.rank() == 2) return {batch, 1, 1, x[1], y[1], 1, 1, 1, 1};
  const auto& a = static_cast<const Conv2dAttrs&>(*n.attrs);
  return {batch, x[1],       x[2],       x[3],    w[0],    w[1],         w[2],         y[1],
          y[2],  a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dilation_h, a.dilation_w, a.groups};
}

auto key(const cpu::ConvShape& s) { return std::tie(s.h, s.w, s.c, s.o, s.kh, s.kw, s.stride_h, s.groups); }

}  // namespace

std::vector<Layer> sequence(const std::string& network, int64_t batch) {
  const Graph g = nn::to_model(*nn::make_network(network), network).graph;
  std::vector<Layer> found;
  for (const GraphNode& n : g.nodes) {
    const std::string op = n.op->name;
    if (op != "conv2d" && op != "matmul") continue;
    Id value = n.out[0];
    std::string next;
    for (const GraphNode& reader : g.nodes)
      if (std::count(reader.in.begin(), reader.in.end(), value)) {
        next = reader.op->name;
        if (next != "batch_norm") break;
        value = reader.out[0];
      }
    found.push_back({shape_of(n, g, batch), 1, next == "prelu", next == "add"});
  }
  return found;
}

std::vector<Layer> layers(const std::string& network, int64_t batch) {
  std::vector<Layer> found;
  for (const Layer& l : sequence(network, batch)) {
    auto same = std::find_if(found.begin(), found.end(), [&](const Layer& f) { return key(f.shape) == key(l.shape); });
    if (same == found.end())
      found.push_back(l);
    else
      ++same->count;
  }
  return found;
}

cuda::ConvProblem problem(cuda::Direction d, const cpu::ConvShape& s) {
  auto i = [](int64_t v) { return static_cast<int>(v); };
  return {d,       i(s.n),        i(s.h),        i(s.w),     i(s.c),     i(s.o),          i(s.kh),         i(s.kw),    i(s.oh),
          i(s.ow), i(s.stride_h), i(s.stride_w), i(s.pad_h), i(s.pad_w), i(s.dilation_h), i(s.dilation_w), i(s.groups)};
}

std::string describe(const Layer& l) {
  const cpu::ConvShape& s = l.shape;
  return cat(s.h, "x", s.w, " ", s.c, ">", s.o, " ", s.kh, "x", s.kw, " s", s.stride_h, s.groups > 1 ? cat(" g", s.groups) : "", " x",
             l.count);
}

}  // namespace vitrine::bench
