// What a student's embedding is pulled towards. Embeddings are [N, D] rows, not normalised; the teacher's carry no gradient.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/ops.h"

namespace vitrine::losses {

// QuantFace (Boutros et al. 2022): mean over all N * D elements of (normalize(student) - normalize(teacher))^2.
Tensor embedding_mse(const Tensor& student, const Tensor& teacher);

// EKD (Huang et al., "Evaluation-oriented Knowledge Distillation for Deep Face Recognition", CVPR 2022), the rank form of its published
// code. Thresholds at FPR 1e-1 .. 1e-6 are read off the negatives' sorted similarities, one set for each network, and averaged over steps;
// a pair's rank is the soft count of thresholds it exceeds; ranks of student and teacher are compared on the positives and on the hardest
// negatives. Labels only say which pairs are positive. The defaults are the published code's.
struct EkdOptions {
  // Of the running thresholds: zero, without bias correction; the first batch's; or zero, divided by 1 - (1 - kNewWeight)^steps.
  enum class Start : uint8_t { zero, first_batch, unbiased } start = Start::zero;
  // What is compared, squared: ranks, or (its Eq. 7, the L2-distance variant) the distances to the thresholds,
  // (s - a_S,k) - (t - a_T,k), meaned over pairs and k.
  enum class Form : uint8_t { rank, distance } form = Form::rank;
  // Which pairs are positive. Without labels: those whose teacher cosine is at least teacher_cosine; or rows i and i + N/2, two views
  // (original and flipped) of one image.
  enum class Positives : uint8_t { labels, teacher, views } positives = Positives::labels;
  double teacher_cosine = 0.4;
};

class Ekd {
 public:
  static constexpr int kAnchors = 6;
  static constexpr double kTau = 0.01;                         // softness of the rank
  static constexpr double kClamp = 50;                         // of the sigmoid's exponent: gradient exactly 0 beyond
  static constexpr double kNewWeight = 0.01;                   // of a step's thresholds in the running ones
  static constexpr double kPositive = 0.02, kNegative = 0.01;  // weights of the two parts
  static constexpr int64_t kHardest = 2000;                    // negatives compared, hardest by the student

  using Anchors = std::array<double, kAnchors>;
  struct Result {
    Tensor loss;                  // kPositive * l_pos + kNegative * l_neg
    double l_pos = 0, l_neg = 0;  // 0 where there are no such pairs
    int64_t positives = 0, negatives = 0;
  };
  explicit Ekd(EkdOptions options = {}) : options_(options) {}
  // student [N, D], teacher [N, D']; N labels, read only where they make the positives.
  Result operator()(const Tensor& student, const Tensor& teacher, const std::vector<int64_t>& labels = {});

  Anchors& student_anchors() { return student_; }
  Anchors& teacher_anchors() { return teacher_; }

  // To resume: "ekd.anchors" f64 [2,6], student and teacher, and "ekd.steps" i64 [].
  TensorMap state() const;
  void load_state(const TensorMap&);

 private:
  void move_towards(Anchors&, const Tensor& sorted) const;
  Tensor distance(const Tensor& s, const Tensor& t) const;
  EkdOptions options_;
  Anchors student_{}, teacher_{};
  int64_t steps_ = 0;  // that moved the thresholds
};

// 0-based positions, in negatives sorted in descending order, of the thresholds for FPR 1e-1 .. 1e-6: floor(count / 10^(k+1)).
std::array<int64_t, Ekd::kAnchors> threshold_positions(int64_t negatives);

// sum over k of sigmoid(clamp((x - a_k) / tau)), x [P] -> [P] in (0, 6)
Tensor soft_rank(const Tensor& similarity, const Ekd::Anchors&);

}  // namespace vitrine::losses
