// Regularisers that prepare a network for pruning: added to the gradients between the backward pass and the optimiser's step, they draw
// channels that matter little towards zero.
#pragma once
#include "prune/importance.h"

namespace vitrine::prune {

struct SparsityOptions {
  enum class Kind : uint8_t {
    group,     // w_k strength 16^((S - s_k) / (S - s)): DepGraph's, as published; s_k the root of the channel's l2 score, s and S least and
               // largest
    bn,        // sign(gamma) strength (Liu et al. 2017)
    bn_group,  // gamma_k strength / sqrt(mean over the group's BatchNorms of gamma_k^2 + 1e-9)
    growing    // w_k lambda_k; lambda_k starts at strength, and grow() adds growth (S - s_k) / (S - s + 1e-8), s_k the l2 score
  } kind = Kind::group;
  double strength = 1e-4, growth = 1e-5;
};
SparsityOptions::Kind sparsity_named(const std::string&);
std::vector<std::string> sparsity_names();

class Sparsity {
 public:
  explicit Sparsity(const Structure&, SparsityOptions = {});
  // Changes `gradients` of rows, columns and gamma of channels that can go; absent ones stay absent. Equal scores give equal pulls.
  void add(const Model&, TensorMap& gradients) const;
  void grow(const Model&);
  const std::vector<double>& lambda() const { return lambda_; }  // by channel, of `growing`

 private:
  std::vector<double> pulls(const Model&) const;
  const Structure s_;
  SparsityOptions options_;
  std::vector<double> lambda_;
};

}  // namespace vitrine::prune
