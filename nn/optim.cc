#include "nn/optim.h"

#include <cmath>

#include "engine/ops.h"

namespace vitrine::nn {

double norm(const Tensors& all) {
  NoGrad quiet;
  double total = 0;
  for (const Tensor& t : all)
    if (t) total += sum(square(t)).item();
  return std::sqrt(total);
}

Sgd::Sgd(TensorMap& tensors, std::vector<std::string> names, SgdOptions options) : options_(options), velocity_(names.size()) {
  for (const std::string& name : names) {
    auto it = tensors.find(name);
    CHECK(it != tensors.end(), "sgd: no tensor is named ", name);
    parameters_.push_back(it->second.set_requires_grad());
  }
}

double Sgd::step(const Tensors& gradients) {
  CHECK(gradients.size() == parameters_.size(), "sgd: ", gradients.size(), " gradients for ", parameters_.size(), " parameters");
  NoGrad quiet;
  double length = norm(gradients), coefficient = options_.clip > 0 ? options_.clip / (length + 1e-6) : 1;
  SgdAttrs a;
  a.lr = options_.lr, a.momentum = options_.momentum, a.weight_decay = options_.weight_decay, a.nesterov = options_.nesterov;
  a.scale = std::min(1.0, coefficient);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!gradients[i]) continue;
    a.first = !velocity_[i];
    auto next = sgd_step(parameters_[i], gradients[i], velocity_[i] ? velocity_[i] : gradients[i], a);
    parameters_[i].assign(next.w);
    velocity_[i] = next.v;
  }
  return length;
}

}  // namespace vitrine::nn
