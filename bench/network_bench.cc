// Whole networks, f32, in the form that eval and embed run (engine/graph/fuse.h), and node by node as the graph stands.
// Opponents for the same networks: bench/opponents/network.py.
#include "bench/report.h"
#include "engine/graph/fuse.h"
#include "nn/network.h"

namespace vitrine::bench {
namespace {

enum class Form { fused, bits, graph };

void add_network(const char* network, int64_t batch, Form form) {
  const char* how[] = {"", ", bits of the graph", ", node by node"};
  const double flops = 2.0 * static_cast<double>(batch * count(nn::make_model(network, 1).graph).macs);
  add({cat(network, " b", batch, " network"), cat("forward", how[static_cast<int>(form)]), flops, 0, 1, [=] {
         Model m = nn::make_model(network, 1);
         if (form != Form::graph) m = fused(m, form == Form::bits ? Fusion::bits : Fusion::free);
         const Shape one = m.graph.values[m.graph.inputs[0]].meta.shape;
         auto call = [m, x = Tensor::full({batch, one[1], one[2], one[3]}, 0.5)] {
           NoGrad quiet;
           run(m.graph, m.tensors, {x});
         };
         return std::function<void()>(call);
       }});
}

const bool added = [] {
  for (const char* network : {"iresnet18", "iresnet50"})
    for (int64_t batch : {1, 32})
      for (Form form : {Form::fused, Form::bits, Form::graph}) add_network(network, batch, form);
  for (int64_t batch : {1, 32}) add_network("mobilefacenet", batch, Form::fused);
  return true;
}();

}  // namespace
}  // namespace vitrine::bench
