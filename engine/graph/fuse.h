// The inference form of a model: convolutions and matrices with constant weights become conv2d_fused, which takes over the bias,
// BatchNorm, PReLU and residual sum behind them and the BatchNorm before them; what depends on no input is computed once. Weights are
// packed here for the cpu, so the form is for running, not for saving or training. It is on the model's device; Winograd is for strict f32.
// In bf16 (Mode), on a device, convolutions have their weights in bf16 and write what they alone read in bf16.
#pragma once
#include "engine/graph/graph.h"

namespace vitrine {

enum class Fusion : uint8_t {
  free,  // folds BatchNorm into weights (in f64, rounded once) and takes Winograd where it is faster
  bits,  // the same bits as the model's own graph; what a graph with quantizers gets in any case, since rounding magnifies a last bit
};
Model fused(const Model&, Fusion = Fusion::free);

}  // namespace vitrine
