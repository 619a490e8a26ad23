// Lowering: a model with quantizers (quant/placement.h) becomes one of integers, Graph -> Graph. Values on a grid of at most 8 bits are
// stored as u8 codes and quantized weights as packed codes (quant/format.h); both placements lower:
//   - A convolution or matrix whose input and weights lie on grids is a qconv2d. It takes along what follows it alone: BatchNorm and bias,
//     PReLU, the addition of a stored value, another BatchNorm, the quantizer; and a BatchNorm with a quantizer that reads the stored
//     result. Affine steps are composed in f64 and rounded once to f32 (gain, shift).
//   - Other quantizers become quantize; what reads a stored value as floats gets it through dequantize, weights through dequantize_weight:
//     the same values as before, to the bit.
// Codes equal those of the quantized model computed exactly, but where that value lies next to a rounding boundary (docs/decisions.md).
#pragma once
#include "engine/graph/graph.h"

namespace vitrine::quant {

Model lower(const Model& quantized);  // Error if there are no quantizers, or if weights cannot be codes
bool is_packed(const Graph&);         // holds packed codes

}  // namespace vitrine::quant
