// Where quantizers sit, as Graph -> Graph passes. The quantized model's graph is the one to evaluate and to save: fake_quant reads the
// ranges it was left with. The other passes give forms of it for calibration and training; they change no name and no tensor.
#pragma once
#include "engine/graph/graph.h"
#include "quant/ops/observe.h"

namespace vitrine::quant {

constexpr int64_t kFloat = 32;  // as a number of bits: no quantizer

// A layer is called as its parameters are without their last part ("layer1.0.conv1.weight": layer1.0.conv1), a range as its buffer without
// ".range" (a layer's name, or "add3": the third sum). `pattern` is one of these names, or a shell pattern ("layer1.*").
struct LayerBits {
  std::string pattern;
  int64_t weight_bits = 8, act_bits = 8;  // of the layer's weights; of the range, and (integer) of what the layer reads
};
struct QuantSpec {
  int64_t weight_bits = 8, act_bits = 8;  // 2 to 16, or kFloat
  int64_t ends = 0;                       // bits of the first and the last layer; 0: those of all
  bool weight_mse = false;                // ranges of weights: cut for the least squared error, not min and max
  std::vector<LayerBits> layers;          // exceptions; the last that matches counts
};
QuantSpec parse_bits(const std::string& text);                     // "w6a6"
std::vector<LayerBits> parse_layer_bits(const std::string& text);  // "conv1=w8a8,layer1.*=w4a32"
std::string str(const QuantSpec&);                                 // "w6a6"

// QuantFace's placement: the weights of every convolution and matrix per output channel; each PReLU's slopes (one range for all, activation
// bits) and output; the sum of each residual addition. BatchNorm is neither folded nor quantized, nor are the image and the embedding.
// Ranges are new buffers [2] called "<layer>.range" and start at (0, 0): calibrate before use. The teacher's tensors are copied.
Model quantface(const Model& teacher, const QuantSpec&);

// The placement of integer kernels: weights as above, and every value that such a kernel stores lies on a grid: what a convolution, a
// matrix, a sum over pixels or an operation on two computed values reads, and what two nodes read. What lies between (bias, BatchNorm,
// PReLU with float slopes, the addition of a stored value) is a function of one accumulator and belongs to the requantization: so one
// term of a sum has no grid where it comes straight from a layer. A range that several layers
// read has the most bits any of them wants. The image's grid is that of its pixels (8 bits, info["mean"] and ["std"]) and is not tracked;
// where the pixels lie half-way between codes (mean 127.5), they move inwards by half a grey level.
Model integer(const Model& teacher, const QuantSpec&);

// The convolutions and matrices, by the names of their weights, whose input or weights do not lie on a grid.
std::vector<std::string> float_inputs(const Graph&);

// Each fake_quant first moves its range by its input (observe; the bits are its own) and uses the moved one; the buffers are updated after
// the run. A range of the graph's input stays.
Graph with_running_ranges(const Graph&, const ObserveAttrs& = {});

// For training: no gradient passes a fake_quant where its input lies outside the range. The published estimator passes all.
Graph with_clipped_gradients(const Graph&);

struct Census {
  int convolutions = 0, matrices = 0, slopes = 0, activations = 0;
};  // quantizers in a graph
Census census(const Graph&);

}  // namespace vitrine::quant
