// Stochastic gradient descent with momentum, Nesterov, weight decay and clipping, as PyTorch defines them.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/ops/sgd.h"

namespace vitrine::nn {

struct SgdOptions {
  double lr = 0.1, momentum = 0.9, weight_decay = 5e-4;
  bool nesterov = true;
  double clip = 0;  // global L2 norm of the gradient, 0: none; coefficient clip / (norm + 1e-6) where that is below 1
};

class Sgd {
 public:
  // The named tensors of `tensors` are updated in place by step().
  Sgd(TensorMap& tensors, std::vector<std::string> names, SgdOptions);
  // Marks the parameters for autograd; their values as grad() wants them, in the order of the names.
  const Tensors& parameters() const { return parameters_; }
  // Applies gradients (a parameter whose gradient is empty stays as it is); returns their norm before clipping.
  double step(const Tensors& gradients);
  void set_lr(double lr) { options_.lr = lr; }

 private:
  SgdOptions options_;
  Tensors parameters_, velocity_;
};

double norm(const Tensors&);  // global L2 norm, squares summed in f64 in order; empty tensors count nothing

}  // namespace vitrine::nn
