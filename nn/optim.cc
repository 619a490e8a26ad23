#include "nn/optim.h"

#include <algorithm>
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

Optimiser::Optimiser(TensorMap& tensors, std::vector<std::string> names, std::vector<std::string> slots, double lr, double clip)
    : lr_(lr), clip_(clip), names_(std::move(names)), slots_(std::move(slots)), state_(names_.size(), Tensors(slots_.size())) {
  for (const std::string& name : names_) {
    auto it = tensors.find(name);
    CHECK(it != tensors.end(), "optimiser: no tensor is named ", name);
    parameters_.push_back(it->second.set_requires_grad());
  }
}

double Optimiser::step(const Tensors& gradients) {
  CHECK(gradients.size() == parameters_.size(), "optimiser: ", gradients.size(), " gradients for ", parameters_.size(), " parameters");
  NoGrad quiet;
  double length = norm(gradients), scale = clip_ > 0 ? std::min(1.0, clip_ / (length + 1e-6)) : 1;
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (gradients[i]) parameters_[i].assign(update(parameters_[i], gradients[i], scale, state_[i]));
  return length;
}

TensorMap Optimiser::state() const {
  TensorMap all;
  for (size_t i = 0; i < names_.size(); ++i)
    for (size_t k = 0; k < slots_.size(); ++k)
      if (state_[i][k]) all[names_[i] + "." + slots_[k]] = state_[i][k].clone();
  return all;
}

void Optimiser::load_state(const TensorMap& saved) {
  std::vector<Tensors> next(names_.size(), Tensors(slots_.size()));
  size_t found = 0;
  for (size_t i = 0; i < names_.size(); ++i) {
    size_t before = found;
    for (size_t k = 0; k < slots_.size(); ++k) {
      auto it = saved.find(names_[i] + "." + slots_[k]);
      if (it == saved.end()) continue;
      Meta want = slots_[k] == "step" ? Meta{{}, Dtype::i64} : parameters_[i].meta();
      CHECK(it->second.shape() == want.shape && it->second.dtype() == want.dtype, "optimiser: state ", it->first, " is ",
            str(it->second.meta()), ", expected ", str(want));
      next[i][k] = it->second.to(want.device).clone();
      ++found;
    }
    CHECK(found == before || found == before + slots_.size(), "optimiser: the state of ", names_[i], " is incomplete");
  }
  CHECK(found == saved.size(), "optimiser: ", saved.size() - found, " tensors of the state belong to no parameter");
  state_ = std::move(next);
}

Sgd::Sgd(TensorMap& tensors, std::vector<std::string> names, SgdOptions o)
    : Optimiser(tensors, std::move(names), {"velocity"}, o.lr, o.clip), options_(o) {}

Tensor Sgd::update(const Tensor& w, const Tensor& gradient, double scale, Tensors& state) {
  SgdAttrs a;
  a.lr = lr_, a.momentum = options_.momentum, a.weight_decay = options_.weight_decay, a.nesterov = options_.nesterov;
  a.scale = scale, a.first = !state[0];
  auto next = sgd_step(w, gradient, state[0] ? state[0] : gradient, a);
  state[0] = next.v;
  return next.w;
}

AdamW::AdamW(TensorMap& tensors, std::vector<std::string> names, AdamWOptions o)
    : Optimiser(tensors, std::move(names), {"exp_avg", "exp_avg_sq", "step"}, o.lr, o.clip), options_(o) {}

Tensor AdamW::update(const Tensor& w, const Tensor& gradient, double scale, Tensors& state) {
  auto& [lr, decay, beta1, beta2, eps, clip] = options_;
  auto average = [](const Tensor& old, const Tensor& now, double beta) {
    return old ? add(mul_scalar(old, beta), mul_scalar(now, 1 - beta)) : mul_scalar(now, 1 - beta);
  };
  Tensor g = scale == 1 ? gradient : mul_scalar(gradient, scale);
  auto t = state[2] ? state[2].item<int64_t>() + 1 : 1;
  state = {average(state[0], g, beta1), average(state[1], square(g), beta2), Tensor::from({}, std::vector<int64_t>{t})};
  double rate = lr_ / (1 - std::pow(beta1, t)), spread = 1 / std::sqrt(1 - std::pow(beta2, t));
  Tensor change = div(mul_scalar(state[0], rate), add_scalar(mul_scalar(sqrt(state[1]), spread), eps));
  return sub(mul_scalar(w, 1 - lr_ * decay), change);
}

double learning_rate(const Schedule& s, int64_t step, int64_t total) {
  CHECK(step >= 0 && s.warmup >= 0 && s.warmup <= total, "schedule: step ", step, ", warm-up ", s.warmup, " of ", total, " steps");
  if (step > 0 && step <= s.warmup) return s.base * static_cast<double>(step) / static_cast<double>(s.warmup);
  double length = static_cast<double>(std::max<int64_t>(1, total - s.warmup));
  double progress = std::min(1.0, static_cast<double>(std::max<int64_t>(0, step - s.warmup)) / length);
  if (s.kind == Schedule::Kind::polynomial) return s.base * std::pow(1 - progress, s.power);
  if (s.kind == Schedule::Kind::cosine) return s.floor + (s.base - s.floor) * (1 + std::cos(3.14159265358979323846 * progress)) / 2;
  auto passed = std::ranges::count_if(s.milestones, [&](int64_t m) { return step >= m; });
  return s.base * std::pow(s.factor, s.kind == Schedule::Kind::steps ? passed : 0);
}

}  // namespace vitrine::nn
