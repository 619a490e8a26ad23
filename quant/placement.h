// Where quantizers sit, as Graph -> Graph passes. The quantized model's graph is the one to evaluate and to save: fake_quant reads the
// ranges it was left with. with_running_ranges() gives the form that tracks them.
#pragma once
#include "engine/graph/graph.h"

namespace vitrine::quant {

struct QuantSpec {
  int64_t weight_bits = 8, act_bits = 8;
};
QuantSpec parse_bits(const std::string& text);  // "w6a6"
std::string str(const QuantSpec&);

// QuantFace's placement: the weights of every convolution and matrix per output channel; each PReLU's slopes (one range for all, activation
// bits) and output; the sum of each residual addition. BatchNorm is neither folded nor quantized, nor are the image and the embedding.
// Ranges are new buffers [2] called "<layer>.range" and start at (0, 0): calibrate before use. The teacher's tensors are copied.
Model quantface(const Model& teacher, const QuantSpec&);

// Each fake_quant first widens its range by its input (observe) and uses the widened one; the buffers are updated after the run.
Graph with_running_ranges(const Graph&);

struct Census {
  int convolutions = 0, matrices = 0, slopes = 0, activations = 0;
};  // quantizers in a graph
Census census(const Graph&);

}  // namespace vitrine::quant
