// Takes channels out of a network: of every tensor that holds a part of them, and of the attributes of the operators.
#pragma once
#include "prune/groups.h"

namespace vitrine::prune {

using Removed = std::vector<bool>;  // by channel of a Structure

// What is left of each index of an axis, ascending.
std::vector<int64_t> left(const Channels& axis, const Removed&);

// The graph alone: for counting what would be left. Names and ids stay. Error if an operator disagrees with its own rules.
Graph narrowed(const Graph&, const Structure&, const Removed&);
Model apply(const Model&, const Structure&, const Removed&);  // own bytes

// Mean compensation: what removed channels added to each output of a convolution or matrix, on average, moves into the running mean of the
// BatchNorm that follows it, or into its bias. A convolution's border is taken as the inside. Outputs that go elsewhere are left alone.
class Means {
 public:
  explicit Means(const Model& before) : model_(before) {}
  void observe(const Tensor& images);  // runs the network; f32
  // Changes `after`, which is `before` without `removed`. Returns the number of layers that were compensated.
  int compensate(Model& after, const Structure&, const Removed&) const;

 private:
  const Model& model_;
  std::map<Id, std::vector<double>> sums_;  // of each layer's input, by channel (last axis)
  std::map<Id, int64_t> counts_;
};

}  // namespace vitrine::prune
