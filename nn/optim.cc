#include "nn/optim.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/ops.h"

namespace vitrine::nn {

namespace {

Tensors without_empty(const Tensors& all) {
  Tensors some;
  std::ranges::copy_if(all, std::back_inserter(some), [](const Tensor& t) { return static_cast<bool>(t); });
  return some;
}

}  // namespace

double norm(const Tensors& all) {
  NoGrad quiet;
  const Tensors some = without_empty(all);
  return some.empty() ? 0 : gradient_norm(some, 0).values()[0];
}

Optimiser::Optimiser(TensorMap& tensors, std::vector<std::string> names, std::vector<std::string> slots, double lr, double clip)
    : lr_(lr), clip_(clip), names_(std::move(names)), slots_(std::move(slots)), state_(names_.size()), taken_(names_.size()) {
  for (const std::string& name : names_) {
    auto it = tensors.find(name);
    CHECK(it != tensors.end(), "optimiser: no tensor is named ", name);
    parameters_.push_back(it->second.set_requires_grad());
  }
  if (!parameters_.empty()) norm_ = Tensor::zeros({2}, Dtype::f64, parameters_[0].device());
}

double Optimiser::step(const Tensors& gradients) {
  regroup(gradients);
  begin();
  queue(gradients);
  return norm();
}

double Optimiser::norm() const { return groups_.empty() ? 0 : norm_.values()[0]; }

void Optimiser::regroup(const Tensors& gradients) {
  CHECK(gradients.size() == parameters_.size(), "optimiser: ", gradients.size(), " gradients for ", parameters_.size(), " parameters");
  std::map<int64_t, std::vector<size_t>> by_taken;
  for (size_t i = 0; i < gradients.size(); ++i)
    if (gradients[i]) by_taken[taken_[i]].push_back(i);
  const bool same = std::ranges::equal(groups_, by_taken,
                                       [](const Group& g, const auto& now) { return g.taken == now.first && g.members == now.second; });
  if (same) return;  // what was recorded with them stays right
  groups_.clear(), ++layout_;
  for (auto& [taken, members] : by_taken) groups_.push_back({taken, members, Tensor()});
}

void Optimiser::begin() {
  for (Group& g : groups_) {
    ++g.taken;
    for (size_t i : g.members) ++taken_[i];
    const auto values = rates(g.taken);
    const Tensor now = Tensor::from({static_cast<int64_t>(values.size())}, values).to(parameters_[g.members[0]].device());
    g.rates ? g.rates.assign(now) : void(g.rates = now.clone());
  }
}

void Optimiser::queue(const Tensors& gradients) {
  NoGrad quiet;
  const Tensors some = without_empty(gradients);
  size_t expected = 0;
  for (Group& g : groups_)
    for (size_t i : g.members) expected += static_cast<bool>(gradients[i]);
  const size_t before = std::accumulate(groups_.begin(), groups_.end(), size_t{0}, [](size_t n, auto& g) { return n + g.members.size(); });
  CHECK(expected == before && some.size() == before, "optimiser: other parameters have gradients than in the step before");
  if (some.empty()) return;
  NormAttrs clip;
  clip.clip = clip_;
  run_in_place("gradient_norm", std::make_shared<NormAttrs>(clip), some, {norm_});
  for (Group& g : groups_) {
    const bool first = state_[g.members[0]].empty();
    Tensors in{g.rates, norm_}, out;
    for (size_t i : g.members) {
      if (first)
        for (size_t k = 0; k < slots_.size(); ++k) state_[i].push_back(Tensor::empty(parameters_[i].meta()));
      in.push_back(parameters_[i]), in.push_back(gradients[i]), out.push_back(parameters_[i]);
      for (const Tensor& t : state_[i]) in.push_back(t), out.push_back(t);
    }
    run_in_place(op(), attrs(first), in, out);
  }
}

TensorMap Optimiser::state() const {
  TensorMap all;
  for (size_t i = 0; i < names_.size(); ++i) {
    for (size_t k = 0; k < state_[i].size(); ++k) all[names_[i] + "." + slots_[k]] = state_[i][k].clone();
    if (counts_steps() && taken_[i]) all[names_[i] + ".step"] = Tensor::from({}, std::vector<int64_t>{taken_[i]});
  }
  return all;
}

void Optimiser::load_state(const TensorMap& saved) {
  std::vector<Tensors> next(names_.size());
  std::vector<int64_t> taken(names_.size());
  size_t found = 0;
  auto slots = slots_;
  if (counts_steps()) slots.push_back("step");
  for (size_t i = 0; i < names_.size(); ++i) {
    const size_t before = found;
    for (const std::string& slot : slots) {
      auto it = saved.find(names_[i] + "." + slot);
      if (it == saved.end()) continue;
      const bool is_step = slot == "step";
      Meta want = is_step ? Meta{{}, Dtype::i64} : parameters_[i].meta();
      CHECK(it->second.shape() == want.shape && it->second.dtype() == want.dtype, "optimiser: state ", it->first, " is ",
            str(it->second.meta()), ", expected ", str(want));
      if (!is_step) next[i].push_back(it->second.to(want.device).clone());
      taken[i] = is_step ? it->second.item<int64_t>() : 1;
      ++found;
    }
    CHECK(found == before || found == before + slots.size(), "optimiser: the state of ", names_[i], " is incomplete");
  }
  CHECK(found == saved.size(), "optimiser: ", saved.size() - found, " tensors of the state belong to no parameter");
  state_ = std::move(next), taken_ = std::move(taken);
  groups_.clear(), ++layout_;
}

Sgd::Sgd(TensorMap& tensors, std::vector<std::string> names, SgdOptions o)
    : Optimiser(tensors, std::move(names), {"velocity"}, o.lr, o.clip), options_(o) {}

AttrsPtr Sgd::attrs(bool first) const {
  SgdAttrs a;
  a.momentum = options_.momentum, a.weight_decay = options_.weight_decay, a.nesterov = options_.nesterov, a.first = first;
  return std::make_shared<SgdAttrs>(a);
}

AdamW::AdamW(TensorMap& tensors, std::vector<std::string> names, AdamWOptions o)
    : Optimiser(tensors, std::move(names), {"exp_avg", "exp_avg_sq"}, o.lr, o.clip), options_(o) {}

AttrsPtr AdamW::attrs(bool first) const {
  AdamWAttrs a;
  a.beta1 = options_.beta1, a.beta2 = options_.beta2, a.eps = options_.eps, a.first = first;
  return std::make_shared<AdamWAttrs>(a);
}

std::vector<double> AdamW::rates(int64_t t) const {
  auto& o = options_;
  return {1 - lr_ * o.weight_decay, lr_ / (1 - std::pow(o.beta1, t)), 1 / std::sqrt(1 - std::pow(o.beta2, t))};
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
