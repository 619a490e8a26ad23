// How much a channel matters: a number for each, from the slices of weights that would go with it.
#pragma once
#include "prune/groups.h"

namespace vitrine::prune {

enum class Criterion : uint8_t {
  l1,
  l2,              // sum of |w|, of w^2
  bn,              // |gamma| of BatchNorm alone (Liu et al. 2017)
  lamp,            // l2, then each score over the sum of those not smaller (Lee et al. 2021)
  fpgm,            // distance to the other channels' weights (He et al. 2019)
  fpgm_published,  // the same of w^2, as Torch-Pruning computes it
  taylor,          // sum of |w g| (Molchanov et al. 2017)
  taylor_abs,      // |sum of w g|
  hessian,         // sum of w^2 h, h the mean of g^2 over samples (LeCun et al. 1989)
  random
};
enum class Reduction : uint8_t { mean, sum, max, product, first, last };                    // over the members of a group
enum class Normaliser : uint8_t { none, mean, sum, max, range, gaussian, sentinel, lamp };  // over the channels of a group

Criterion criterion_named(const std::string&);  // Error lists the names
Reduction reduction_named(const std::string&);
Normaliser normaliser_named(const std::string&);
std::vector<std::string> criterion_names();
std::vector<std::string> reduction_names();
std::vector<std::string> normaliser_names();

struct Importance {
  Criterion criterion = Criterion::l2;
  Reduction reduction = Reduction::mean;
  Normaliser normaliser = Normaliser::mean;  // lamp brings its own
  double sentinel = 0.5;                     // the score at this quantile is 1
  bool published = false;  // count the members that Torch-Pruning counts: no depthwise weights, no slopes, no BatchNorm in taylor
  uint64_t seed = 1;       // of random
};

// What Taylor and Hessian read, by parameter: gradients, or means of squared gradients over samples. Missing: zero.
using Gradients = TensorMap;

// A score for every channel of the structure (0 where its group is fixed). Members are counted once each: rows and columns of weights,
// BatchNorm's gamma, and for taylor and hessian PReLU's slopes; a member that holds a channel at several indices (behind a flatten) gives
// their sum (max: their maximum). Biases do not count. Sums are in f64, in the order of the tensors' elements.
std::vector<double> scores(const Model&, const Structure&, const Importance&, const Gradients& = {});

}  // namespace vitrine::prune
