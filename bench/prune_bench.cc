// Whole networks after uniform pruning, in the form that eval and embed run: what the multiplications saved save in time.
#include "bench/report.h"
#include "engine/graph/fuse.h"
#include "nn/network.h"
#include "prune/plan.h"

namespace vitrine::bench {
namespace {

Model pruned(const char* network, double ratio, int64_t round_to) {
  Model m = nn::make_model(network, 1);
  if (ratio == 0) return m;
  const prune::Structure s = prune::find_groups(m.graph);
  const std::vector<double> equal(s.group_of.size());
  return prune::apply(m, s, prune::select(m.graph, s, equal, {.ratio = ratio, .round_to = round_to}));
}

void add_pruned(const char* network, int64_t batch, double ratio, int64_t round_to) {
  const double macs = static_cast<double>(count(pruned(network, ratio, round_to).graph).macs);
  add({cat(network, " b", batch, " pruned"), cat("ratio ", ratio, round_to > 1 ? cat(", rows in ", round_to, "s") : ""),
       2 * static_cast<double>(batch) * macs, 0, 1, [=] {
         const Model m = fused(pruned(network, ratio, round_to));
         const Shape one = m.graph.values[m.graph.inputs[0]].meta.shape;
         auto call = [m, x = Tensor::full({batch, one[1], one[2], one[3]}, 0.5)] {
           NoGrad quiet;
           run(m.graph, m.tensors, {x});
         };
         return std::function<void()>(call);
       }});
}

const bool added = [] {
  for (int64_t batch : {1, 32})
    for (double ratio : {0.0, 0.2, 0.5})
      for (int64_t round_to : {1, 8})
        if (ratio > 0 || round_to == 1) add_pruned("iresnet18", batch, ratio, round_to);
  return true;
}();

}  // namespace
}  // namespace vitrine::bench
