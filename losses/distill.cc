#include "losses/distill.h"

#include <algorithm>
#include <cmath>

namespace vitrine::losses {
namespace {

// Positions i * n + j, i < j, of the pairs in the n x n similarities, row by row.
struct Pairs {
  std::vector<int64_t> positive, negative;
  template <class Same>
  Pairs(int64_t n, Same&& same) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = i + 1; j < n; ++j) (same(i, j) ? positive : negative).push_back(i * n + j);
  }
};

Pairs pairs_of(const EkdOptions& o, const std::vector<int64_t>& labels, const Tensor& teacher_similarities, int64_t n) {
  if (o.positives == EkdOptions::Positives::teacher)
    return Pairs(n, [&, t = teacher_similarities.values()](int64_t i, int64_t j) { return t[i * n + j] >= o.teacher_cosine; });
  if (o.positives == EkdOptions::Positives::views) return Pairs(n, [&](int64_t i, int64_t j) { return i + n / 2 == j; });
  return Pairs(n, [&](int64_t i, int64_t j) { return labels[i] == labels[j]; });
}

Tensor similarities(const Tensor& embedding) {  // [N,D] -> all cosines as a list [N*N]
  Tensor unit = l2_normalize(embedding);
  return reshape(matmul(unit, unit, false, true), {-1});
}

Tensor pick(const Tensor& list, const std::vector<int64_t>& at, Device device) {
  return gather(list, Tensor::from({static_cast<int64_t>(at.size())}, at).to(device));
}

Tensor row(const Ekd::Anchors& anchors, const Tensor& like) {  // [1, kAnchors]
  return Tensor::from({1, Ekd::kAnchors}, std::vector<double>(anchors.begin(), anchors.end())).to(like.dtype()).to(like.device());
}

}  // namespace

Tensor embedding_mse(const Tensor& student, const Tensor& teacher) {
  Tensor target;
  {
    NoGrad quiet;
    target = l2_normalize(teacher.detach());
  }
  return mean(square(sub(l2_normalize(student), target)));
}

std::array<int64_t, Ekd::kAnchors> threshold_positions(int64_t negatives) {
  std::array<int64_t, Ekd::kAnchors> at;
  int64_t divisor = 1;
  for (int64_t& position : at) position = negatives / (divisor *= 10);
  return at;
}

Tensor soft_rank(const Tensor& similarity, const Ekd::Anchors& anchors) {
  Tensor exponent = mul_scalar(sub(reshape(similarity, {-1, 1}), row(anchors, similarity)), 1 / Ekd::kTau);
  return sum(sigmoid(clamp(exponent, -Ekd::kClamp, Ekd::kClamp)), {1});
}

void Ekd::move_towards(Anchors& anchors, const Tensor& sorted) const {
  auto values = sorted.values();
  auto at = threshold_positions(sorted.numel());
  double weight = kNewWeight;
  if (options_.start == EkdOptions::Start::first_batch && steps_ == 1) weight = 1;
  if (options_.start == EkdOptions::Start::unbiased) weight /= 1 - std::pow(1 - kNewWeight, static_cast<double>(steps_));
  for (int k = 0; k < kAnchors; ++k) anchors[k] = weight * values[at[k]] + (1 - weight) * anchors[k];
}

Tensor Ekd::distance(const Tensor& s, const Tensor& t) const {
  if (options_.form == EkdOptions::Form::distance) {
    Anchors between;
    for (int k = 0; k < kAnchors; ++k) between[k] = student_[k] - teacher_[k];
    return mean(square(sub(reshape(sub(s, t), {-1, 1}), row(between, s))));
  }
  Tensor teacher;
  {
    NoGrad quiet;
    teacher = soft_rank(t, teacher_);
  }
  return mean(square(sub(soft_rank(s, student_), teacher)));
}

Ekd::Result Ekd::operator()(const Tensor& student, const Tensor& teacher, const std::vector<int64_t>& labels) {
  bool labelled = options_.positives == EkdOptions::Positives::labels;
  int64_t n = student.shape().rank() == 2 ? student.shape()[0] : -1;
  CHECK(n >= 0 && teacher.shape().rank() == 2 && teacher.shape()[0] == n && (!labelled || static_cast<int64_t>(labels.size()) == n),
        "ekd: student ", str(student.meta()), ", teacher ", str(teacher.meta()), ", ", labels.size(), " labels");
  CHECK(options_.positives != EkdOptions::Positives::views || n % 2 == 0, "ekd: ", n, " rows: expected two views of each image");
  Device device = student.device();
  Tensor s = similarities(student), t;
  {
    NoGrad quiet;
    t = similarities(teacher.detach());
  }
  Pairs pairs = pairs_of(options_, labels, t, n);
  Result r;
  r.positives = static_cast<int64_t>(pairs.positive.size()), r.negatives = static_cast<int64_t>(pairs.negative.size());
  // Thresholds first: this step's loss uses the running ones with this step in them. They are constants of the gradient.
  Sorted hardest;
  Tensor teacher_negatives;
  if (r.negatives) {
    NoGrad quiet;
    ++steps_;
    hardest = sort(pick(s.detach(), pairs.negative, device), true);
    teacher_negatives = pick(t, pairs.negative, device);
    move_towards(student_, hardest.values);
    move_towards(teacher_, sort(teacher_negatives, true).values);
  }
  Tensor total = mul_scalar(sum(s), 0);  // so that a batch of a single image still has a loss and a (zero) gradient
  if (r.positives) {
    Tensor part = distance(pick(s, pairs.positive, device), pick(t, pairs.positive, device));
    r.l_pos = part.item();
    total = add(total, mul_scalar(part, kPositive));
  }
  if (r.negatives) {
    auto order = hardest.index.values<int64_t>();
    order.resize(std::min<int64_t>(kHardest, r.negatives));
    std::vector<int64_t> at;
    for (int64_t k : order) at.push_back(pairs.negative[k]);
    Tensor part = distance(pick(s, at, device), pick(t, at, device));
    r.l_neg = part.item();
    total = add(total, mul_scalar(part, kNegative));
  }
  r.loss = total;
  return r;
}

TensorMap Ekd::state() const {
  std::vector<double> anchors(student_.begin(), student_.end());
  anchors.insert(anchors.end(), teacher_.begin(), teacher_.end());
  return {{"ekd.anchors", Tensor::from({2, kAnchors}, anchors)}, {"ekd.steps", Tensor::from({}, std::vector<int64_t>{steps_})}};
}

void Ekd::load_state(const TensorMap& saved) {
  for (auto& [name, tensor] : state())
    CHECK(saved.count(name) && saved.at(name).meta() == tensor.meta(), "ekd: state ", name, ": expected ", str(tensor.meta()));
  auto anchors = saved.at("ekd.anchors").values();
  std::copy_n(anchors.begin(), kAnchors, student_.begin());
  std::copy_n(anchors.begin() + kAnchors, kAnchors, teacher_.begin());
  steps_ = saved.at("ekd.steps").item<int64_t>();
}

}  // namespace vitrine::losses
