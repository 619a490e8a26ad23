// What a student's embedding is pulled towards. Embeddings are [N, D] rows, not normalised; the teacher's carry no gradient.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "engine/ops.h"

namespace vitrine::losses {

// QuantFace (Boutros et al. 2022): mean over all N * D elements of (normalize(student) - normalize(teacher))^2.
Tensor embedding_mse(const Tensor& student, const Tensor& teacher);

// EKD (Huang et al., "Evaluation-oriented Knowledge Distillation for Deep Face Recognition", CVPR 2022), the rank form of its published
// code. Thresholds at FPR 1e-1 .. 1e-6 are read off the negatives' sorted similarities, one set for each network, and averaged over steps;
// a pair's rank is the soft count of thresholds it exceeds; ranks of student and teacher are compared on the positives and on the hardest
// negatives. Labels only say which pairs are positive.
class Ekd {
 public:
  static constexpr int kAnchors = 6;
  static constexpr double kTau = 0.01;                         // softness of the rank
  static constexpr double kClamp = 50;                         // of the sigmoid's exponent: gradient exactly 0 beyond
  static constexpr double kNewWeight = 0.01;                   // of a step's thresholds in the running ones, which start at 0
  static constexpr double kPositive = 0.02, kNegative = 0.01;  // weights of the two parts
  static constexpr int64_t kHardest = 2000;                    // negatives compared, hardest by the student

  using Anchors = std::array<double, kAnchors>;
  struct Result {
    Tensor loss;                  // kPositive * l_pos + kNegative * l_neg
    double l_pos = 0, l_neg = 0;  // 0 where there are no such pairs
    int64_t positives = 0, negatives = 0;
  };
  Result operator()(const Tensor& student, const Tensor& teacher, const std::vector<int64_t>& labels);

  Anchors& student_anchors() { return student_; }
  Anchors& teacher_anchors() { return teacher_; }

 private:
  Anchors student_{}, teacher_{};
};

// 0-based positions, in negatives sorted in descending order, of the thresholds for FPR 1e-1 .. 1e-6: floor(count / 10^(k+1)).
std::array<int64_t, Ekd::kAnchors> threshold_positions(int64_t negatives);

// sum over k of sigmoid(clamp((x - a_k) / tau)), x [P] -> [P] in (0, 6)
Tensor soft_rank(const Tensor& similarity, const Ekd::Anchors&);

}  // namespace vitrine::losses
