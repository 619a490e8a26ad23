// The distinct convolutions and products of a network, read from its graph, with how often each occurs.
#pragma once
#include <string>
#include <vector>

#include "engine/cpu/conv.h"

namespace vitrine::bench {

struct Layer {
  cpu::ConvShape shape;  // a product is a 1x1 convolution of 1x1 images
  int64_t count;
};
std::vector<Layer> layers(const std::string& network, int64_t batch);  // in the order of their first occurrence
std::string describe(const Layer&);                                    // "56x56 64>128 3x3 s2 x1"

}  // namespace vitrine::bench
