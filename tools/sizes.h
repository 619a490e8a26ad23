// How many bytes a model takes, as floats and packed (spec of the sizes: docs/decisions.md, "Sizes").
#pragma once
#include "engine/graph/graph.h"

namespace vitrine::tools {

struct Sizes {
  int64_t float_bytes = 0;   // 4 bytes for every parameter
  int64_t packed_bytes = 0;  // ceil(weights * bits / 8) + 4 * other floats + 8 * output channels + 8 * quantized activations
};
// Of the network as QuantFace quantizes it, whether it is quantized already or not. Of a packed model: what its tensors take.
Sizes sizes(const Graph&, int64_t weight_bits);

}  // namespace vitrine::tools
