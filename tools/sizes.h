// How many bytes a model takes, as floats and packed (spec of the sizes: docs/decisions.md, "Sizes").
#pragma once
#include "engine/graph/graph.h"

namespace vitrine::tools {

struct Sizes {
  int64_t float_bytes = 0;   // 4 bytes for every parameter
  int64_t packed_bytes = 0;  // ceil(weights * bits / 8) + 4 * other floats + 8 * output channels + 8 * quantized activations
};
// Of the network as QuantFace quantizes it; of a quantized one, with the bits and quantizers that it has. Of a packed model: what its
// tensors take.
Sizes sizes(const Graph&, int64_t weight_bits);
Sizes sizes(const Model&, int64_t weight_bits);  // the same, but of a quantized one what `pack` makes of it, if it can

// What papers print as a size: the bytes of a state_dict's tensors (num_batches_tracked of each BatchNorm included; a file by torch.save
// has some 0.05 % more) times a ratio; nothing is packed. QuantFace divides by 4 at eight bits and by 5.33 at six; Ef-QuantFace multiplies
// R34 by bits / 32. Units are MB = 10^6 bytes, but MiB = 2^20 for R34 (docs/decisions.md, "Sizes").
int64_t state_dict_bytes(const Graph&);
double size_by_bits(double full, int64_t bits);       // full * bits / 32
double size_by_quantface(double full, int64_t bits);  // full / (32 / bits, truncated to two decimals)

}  // namespace vitrine::tools
