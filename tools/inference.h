// Embeddings of images by a model.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "engine/graph/graph.h"

namespace vitrine::tools {

inline constexpr const char* kExactHelp = "the bits of the graph as it stands: no BatchNorm folded into weights, no Winograd";

// What a model's info and input say of the pixels it wants. Error if they are malformed.
data::Preprocess preprocess_of(const Model&);

// Hands over each batch of images, in order; the pixels as [N,H,W,3] on the device. The next batches are read meanwhile.
using BatchUser = std::function<void(const data::Batch&, const Tensor& pixels)>;
void for_each_batch(const data::Dataset&, const data::Batches&, const data::Preprocess&, Device, const BatchUser&);

// Batches 0, 1, 2, ... of n images, mirrored or not.
data::Batches in_order(int64_t n, int64_t batch, bool flip);

// Raw embeddings (not normalised) of all images of the set: n x dim, row-major.
struct Embeddings {
  std::vector<float> values;
  int64_t n = 0, dim = 0;
};
Embeddings embed(const Model&, const data::Dataset&, bool flip, const std::string& what, int64_t batch = 32);

}  // namespace vitrine::tools
