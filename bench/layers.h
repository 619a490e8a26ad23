// The convolutions and products of a network, read from its graph.
#pragma once
#include <string>
#include <vector>

#include "engine/cpu/conv.h"
#include "engine/cuda/library.h"

namespace vitrine::bench {

struct Layer {
  cpu::ConvShape shape;  // a product is a 1x1 convolution of 1x1 images
  int64_t count;
  bool prelu, add;  // what comes behind it, its BatchNorm left out
};
std::vector<Layer> sequence(const std::string& network, int64_t batch);  // all, as they are run, count 1
std::vector<Layer> layers(const std::string& network, int64_t batch);    // each shape once, in the order of its first occurrence
cuda::ConvProblem problem(cuda::Direction, const cpu::ConvShape&);       // as cuDNN is asked for it
std::string describe(const Layer&);                                      // "56x56 64>128 3x3 s2 x1"

}  // namespace vitrine::bench
