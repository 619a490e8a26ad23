#include "losses/distill.h"

#include <algorithm>

namespace vitrine::losses {
namespace {

// Positions i * n + j, i < j, of the pairs in the n x n similarities, row by row.
struct Pairs {
  std::vector<int64_t> positive, negative;
  explicit Pairs(const std::vector<int64_t>& labels) {
    int64_t n = static_cast<int64_t>(labels.size());
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = i + 1; j < n; ++j) (labels[i] == labels[j] ? positive : negative).push_back(i * n + j);
  }
};

Tensor similarities(const Tensor& embedding) {  // [N,D] -> all cosines as a list [N*N]
  Tensor unit = l2_normalize(embedding);
  return reshape(matmul(unit, unit, false, true), {-1});
}

Tensor pick(const Tensor& list, const std::vector<int64_t>& at, Device device) {
  return gather(list, Tensor::from({static_cast<int64_t>(at.size())}, at).to(device));
}

void move_towards(Ekd::Anchors& anchors, const Tensor& sorted) {
  auto values = sorted.values();
  auto at = threshold_positions(sorted.numel());
  for (int k = 0; k < Ekd::kAnchors; ++k) anchors[k] = Ekd::kNewWeight * values[at[k]] + (1 - Ekd::kNewWeight) * anchors[k];
}

Tensor squared_distance(const Tensor& s, const Tensor& t, const Ekd::Anchors& a_s, const Ekd::Anchors& a_t) {
  Tensor teacher;
  {
    NoGrad quiet;
    teacher = soft_rank(t, a_t);
  }
  return mean(square(sub(soft_rank(s, a_s), teacher)));
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
  Tensor a =
      Tensor::from({1, Ekd::kAnchors}, std::vector<double>(anchors.begin(), anchors.end())).to(similarity.dtype()).to(similarity.device());
  Tensor exponent = mul_scalar(sub(reshape(similarity, {-1, 1}), a), 1 / Ekd::kTau);
  return sum(sigmoid(clamp(exponent, -Ekd::kClamp, Ekd::kClamp)), {1});
}

Ekd::Result Ekd::operator()(const Tensor& student, const Tensor& teacher, const std::vector<int64_t>& labels) {
  int64_t n = static_cast<int64_t>(labels.size());
  CHECK(student.shape().rank() == 2 && teacher.shape().rank() == 2 && student.shape()[0] == n && teacher.shape()[0] == n, "ekd: student ",
        str(student.meta()), ", teacher ", str(teacher.meta()), ", ", n, " labels");
  Pairs pairs(labels);
  Device device = student.device();
  Tensor s = similarities(student), t;
  {
    NoGrad quiet;
    t = similarities(teacher.detach());
  }
  Result r;
  r.positives = static_cast<int64_t>(pairs.positive.size()), r.negatives = static_cast<int64_t>(pairs.negative.size());
  // Thresholds first: this step's loss uses the running ones with this step in them. They are constants of the gradient.
  Sorted hardest;
  Tensor teacher_negatives;
  if (r.negatives) {
    NoGrad quiet;
    hardest = sort(pick(s.detach(), pairs.negative, device), true);
    teacher_negatives = pick(t, pairs.negative, device);
    move_towards(student_, hardest.values);
    move_towards(teacher_, sort(teacher_negatives, true).values);
  }
  Tensor total = mul_scalar(sum(s), 0);  // so that a batch of a single image still has a loss and a (zero) gradient
  if (r.positives) {
    Tensor part = squared_distance(pick(s, pairs.positive, device), pick(t, pairs.positive, device), student_, teacher_);
    r.l_pos = part.item();
    total = add(total, mul_scalar(part, kPositive));
  }
  if (r.negatives) {
    auto order = hardest.index.values<int64_t>();
    order.resize(std::min<int64_t>(kHardest, r.negatives));
    std::vector<int64_t> at;
    for (int64_t k : order) at.push_back(pairs.negative[k]);
    Tensor part = squared_distance(pick(s, at, device), pick(t, at, device), student_, teacher_);
    r.l_neg = part.item();
    total = add(total, mul_scalar(part, kNegative));
  }
  r.loss = total;
  return r;
}

}  // namespace vitrine::losses
