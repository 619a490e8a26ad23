#include "prune/sparsity.h"

#include <algorithm>
#include <cmath>

namespace vitrine::prune {
namespace {

using Kind = SparsityOptions::Kind;
const std::vector<std::string> kNames = {"group", "bn", "bn-group", "growing"};

// (S - s_k) / (S - s) within each group; where all scores are equal the quotient is 0 / 0 and nobody is behind: 0.
std::vector<double> behind(const Structure& s, const std::vector<double>& score, double guard) {
  std::vector<double> all(score.size());
  for (const Group& group : s.groups) {
    if (!group.fixed.empty()) continue;
    double low = score[group.channels[0]], high = low;
    for (int c : group.channels) low = std::min(low, score[c]), high = std::max(high, score[c]);
    if (high > low)
      for (int c : group.channels) all[c] = (high - score[c]) / (high - low + guard);
  }
  return all;
}

bool pulled(Kind kind, Role role) {
  if (kind == Kind::bn || kind == Kind::bn_group) return role == Role::scale;
  return role == Role::out || role == Role::in || role == Role::scale;
}

}  // namespace

SparsityOptions::Kind sparsity_named(const std::string& text) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == text) return static_cast<Kind>(i);
  throw Error(cat("sparsity '", text, "': expected group, bn, bn-group or growing"));
}
std::vector<std::string> sparsity_names() { return kNames; }

Sparsity::Sparsity(const Structure& s, SparsityOptions o) : s_(s), options_(o), lambda_(s.group_of.size(), o.strength) {}

void Sparsity::grow(const Model& m) {
  const auto more = behind(s_, scores(m, s_, {.normaliser = Normaliser::none, .published = true}), 1e-8);
  for (size_t c = 0; c < lambda_.size(); ++c) lambda_[c] += options_.growth * more[c];
}

// What a channel's weights are multiplied with, before they are added to their gradients.
std::vector<double> Sparsity::pulls(const Model& m) const {
  if (options_.kind == Kind::growing) return lambda_;
  std::vector<double> pull(lambda_.size(), options_.strength);
  if (options_.kind == Kind::group) {
    auto score = scores(m, s_, {.normaliser = Normaliser::none, .published = true});
    for (double& v : score) v = std::sqrt(v);
    const auto distance = behind(s_, score, 0);
    for (size_t c = 0; c < pull.size(); ++c) pull[c] *= std::exp2(4 * distance[c]);
  }
  if (options_.kind == Kind::bn_group) {
    std::vector<double> mean(pull.size()), count(pull.size());
    for (const Group& group : s_.groups)
      for (const Member& member : group.members)
        if (member.role == Role::scale) {
          const Tensor gamma = m.tensors.at(m.graph.values[member.tensor].name).to(Dtype::f64);
          for (int64_t i = 0; i < gamma.numel(); ++i)
            if (const int c = s_.of[member.tensor][member.axis][i]; c >= 0 && s_.group_of[c] == static_cast<int>(&group - s_.groups.data()))
              mean[c] += gamma.data<double>()[i] * gamma.data<double>()[i], ++count[c];
        }
    for (size_t c = 0; c < pull.size(); ++c) pull[c] /= std::sqrt(mean[c] / std::max(count[c], 1.0) + 1e-9);
  }
  return pull;
}

void Sparsity::add(const Model& m, TensorMap& gradients) const {
  const auto pull = pulls(m);
  for (size_t i = 0; i < s_.groups.size(); ++i) {
    const Group& group = s_.groups[i];
    if (!group.fixed.empty()) continue;
    for (const Member& member : group.members) {
      auto it = gradients.find(m.graph.values[member.tensor].name);
      if (it == gradients.end() || !pulled(options_.kind, member.role)) continue;
      const Tensor w = m.tensors.at(it->first).to(Dtype::f64);
      Tensor g = it->second.to(Dtype::f64);
      const Channels& channels = s_.of[member.tensor][member.axis];
      const int64_t inner = w.shape().product(member.axis + 1, w.shape().rank());
      for (int64_t e = 0; e < w.numel(); ++e) {
        const int c = channels[e / inner % w.shape()[member.axis]];
        if (c < 0 || s_.group_of[c] != static_cast<int>(i)) continue;
        const double x = w.data<double>()[e];
        g.data<double>()[e] += pull[c] * (options_.kind == Kind::bn ? (x > 0) - (x < 0) : x);
      }
      it->second = g.to(it->second.dtype());
    }
  }
}

}  // namespace vitrine::prune
