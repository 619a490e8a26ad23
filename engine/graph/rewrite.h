// Passes: Graph -> Graph.
#pragma once
#include "engine/graph/graph.h"

namespace vitrine {

// Copies g node by node. `emit` adds what stands for `node` to the copy, given the copies of its inputs, and returns the ids of its
// outputs; the rest of the copy reads those. Named values, outputs and updates are carried over; the result is checked.
using Emit = std::function<std::vector<Id>(Graph& copy, const GraphNode& node, const std::vector<Id>& in)>;
Graph rewrite(const Graph& g, const Emit& emit);
std::vector<Id> copy_node(Graph& copy, const GraphNode& node, const std::vector<Id>& in);  // the emit that changes nothing

// The training form: batch_norm -> batch_norm_train, whose new running statistics update the buffers.
Graph with_batch_statistics(const Graph&, double momentum = 0.1);

// The same computation in another float type: f32's twin in f64, to see what rounding does to a result.
Model with_dtype(const Model&, Dtype);

// For training: convolutions that are faster by Winograd become conv2d_winograd, forward and backward.
Graph with_winograd(const Graph&);

// For inference on the cpu: depthwise convolutions with the ones before and behind them become one conv2d_chain. Of fused() graphs.
Graph with_chains(const Graph&);

// For training in bf16: convolutions of more than one tap whose result goes to a BatchNorm read and write bf16, and so do their gradients.
Graph with_bf16_convolutions(const Graph&);

// For training: dropout before each matrix behind a flatten (IResNet's place). Its step is the buffer kDropoutStep, i64 [], which run()
// counts up; whoever trains adds that tensor to the others, and keeps it to resume.
inline constexpr const char* kDropoutStep = "dropout.step";
Graph with_dropout(const Graph&, double p, int64_t seed);

}  // namespace vitrine
