#include "losses/head.h"

#include <algorithm>
#include <cstring>

#include "engine/core/rng.h"
#include "engine/ops.h"

namespace vitrine::losses {
namespace {

Tensor list(const std::vector<int64_t>& v, Device device) { return Tensor::from({static_cast<int64_t>(v.size())}, v).to(device); }

// 0 where another class's cosine exceeds the filter, otherwise 1.
Tensor filter_mask(const Tensor& cosines, const Tensor& labels, double filter) {
  auto v = cosines.values();
  auto own = labels.values<int64_t>();
  int64_t classes = cosines.shape().back();
  for (int64_t i = 0; i < cosines.numel(); ++i) v[i] = v[i] > filter && i % classes != own[i / classes] ? 0 : 1;
  return Tensor::from(cosines.shape(), v).to(cosines.dtype()).to(cosines.device());
}

}  // namespace

Tensor margin_logits(const Tensor& cosines, const Tensor& labels, const Margin& m) {
  MarginAttrs a;
  a.m1 = m.m1, a.m2 = m.m2, a.m3 = m.m3, a.falling = m.falling;
  Tensor c = clamp(cosines, -1, 1);
  if (m.filter > 0) c = mul(c, filter_mask(cosines, labels, m.filter));
  return mul_scalar(margin(c, labels, a, m.straight), m.scale);
}

std::vector<int64_t> sampled_classes(std::vector<int64_t> positive, int64_t classes, int64_t count, uint64_t seed, uint64_t step) {
  std::ranges::sort(positive);
  positive.erase(std::unique(positive.begin(), positive.end()), positive.end());
  if (static_cast<int64_t>(positive.size()) >= count) return positive;
  std::vector<std::pair<double, int64_t>> drawn(classes);
  Philox rng(seed, step);
  for (int64_t i = 0; i < classes; ++i) drawn[i] = {-rng.uniform(), i};
  for (int64_t i : positive) drawn[i].first = -2;
  std::nth_element(drawn.begin(), drawn.begin() + count, drawn.end());
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) chosen.push_back(drawn[i].second);
  std::ranges::sort(chosen);
  return chosen;
}

Head::Head(const HeadOptions& o) : options_(o) {
  CHECK(o.classes > 0 && o.dim > 0, "head: ", o.classes, " classes of ", o.dim, " numbers: expected at least one of each");
  CHECK(o.sample_rate > 0 && o.sample_rate <= 1, "head: sample rate ", o.sample_rate, ": expected 0 < rate <= 1");
  Tensor weight = Tensor::zeros({o.classes, o.dim});
  Philox rng(o.seed, ~uint64_t{0});  // samples take the streams from 0 on
  for (int64_t i = 0; i < weight.numel(); ++i) weight.data<float>()[i] = static_cast<float>(0.01 * rng.normal());
  tensors_ = {{"head.weight", weight}, {"head.velocity", Tensor::zeros(weight.shape())}, {"head.step", Tensor::zeros({}, Dtype::i64)}};
}

Tensor Head::rows_of(const Tensor& all, Device device) const {
  return (index_.empty() ? all : gather(all, list(index_, Device::cpu))).to(device);
}

void Head::put_rows(Tensor& all, const Tensor& rows) const {
  if (index_.empty()) return all.assign(rows.to(all.device()));
  Tensor host = rows.to(Device::cpu);
  auto* to = static_cast<float*>(all.mutate().data);
  for (size_t i = 0; i < index_.size(); ++i)
    std::memcpy(to + index_[i] * options_.dim, host.data<float>() + i * options_.dim, options_.dim * sizeof(float));
}

Tensor Head::operator()(const Tensor& embedding, const std::vector<int64_t>& labels) {
  CHECK(embedding.shape() == Shape({static_cast<int64_t>(labels.size()), options_.dim}), "head: embeddings ", str(embedding.meta()),
        " for ", labels.size(), " labels: expected [labels, ", options_.dim, "]");
  std::vector<int64_t> known, own;
  for (size_t i = 0; i < labels.size(); ++i) {
    CHECK(labels[i] >= -1 && labels[i] < options_.classes, "head: label ", labels[i], " of row ", i, ": expected -1 to ",
          options_.classes - 1);
    if (labels[i] >= 0) known.push_back(static_cast<int64_t>(i)), own.push_back(labels[i]);
  }
  Device device = embedding.device();
  int64_t step = tensors_["head.step"].item<int64_t>();
  tensors_["head.step"] = Tensor::from({}, std::vector<int64_t>{step + 1});
  if (options_.sample_rate < 1) {
    auto count = static_cast<int64_t>(options_.sample_rate * static_cast<double>(options_.classes));
    index_ = sampled_classes(own, options_.classes, std::max<int64_t>(1, count), options_.seed, static_cast<uint64_t>(step));
    for (int64_t& label : own) label = std::ranges::lower_bound(index_, label) - index_.begin();
  }
  if (index_.empty())  // all rows move in each step, so they stay where they are used
    for (const char* name : {"head.weight", "head.velocity"}) tensors_[name] = tensors_[name].to(device);
  {
    NoGrad quiet;
    rows_ = rows_of(tensors_["head.weight"], device);
  }
  rows_.set_requires_grad();
  if (own.empty()) return mul_scalar(sum(embedding), 0);
  Tensor some = own.size() == labels.size() ? embedding : gather(embedding, list(known, device));
  Tensor at = list(own, device), cosines = matmul(l2_normalize(some), l2_normalize(rows_), false, true);
  return mean(cross_entropy(margin_logits(cosines, at, options_.margin), at));
}

void Head::step(const Tensor& gradient, SgdAttrs recipe, double lr) {
  if (!gradient) return;
  NoGrad quiet;
  recipe.first = 0;  // velocities start at 0, which is the same
  Tensor &weight = tensors_["head.weight"], &velocity = tensors_["head.velocity"];
  auto next = sgd_step(rows_, gradient, rows_of(velocity, gradient.device()), recipe, lr);
  put_rows(weight, next.w), put_rows(velocity, next.v);
}

TensorMap Head::state() const {
  TensorMap copy;
  for (auto& [name, tensor] : tensors_) copy[name] = tensor.clone();
  return copy;
}

void Head::load_state(const TensorMap& saved) {
  for (auto& [name, tensor] : tensors_)
    CHECK(saved.count(name) && saved.at(name).meta() == tensor.meta(), "head: state ", name, ": expected ", str(tensor.meta()));
  for (auto& [name, tensor] : tensors_) tensor.assign(saved.at(name));
}

}  // namespace vitrine::losses
