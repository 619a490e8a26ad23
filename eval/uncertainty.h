// How sure is a rate, and are two models different? Beside wilson() of verify.h, for pairs that are not independent and for two models.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "eval/decisions.h"
#include "eval/ijb.h"
#include "eval/verify.h"

namespace vitrine::eval {

// 95 % intervals of TPR at FPR from resampled templates. A comparison is not independent of the next when both use one template, so not
// pairs but templates are drawn, with replacement: a template drawn w times gives its pairs w-fold weight (both templates' weights
// multiply). Each replicate's threshold is its own: of the same pairs' scores the lowest with FPR <= target (an estimate by
// tpr_at_fpr() takes the nearest point, and may lie outside). 2.5 and 97.5 % points of the replicates, a function of the seed alone. Error
// if a score is not a number or no pair is of the same person. scores[i] belongs to pairs[i]; templates are numbered below `templates`.
std::vector<Interval> bootstrap_tpr(std::span<const TemplatePair> pairs, std::span<const double> scores, int64_t templates,
                                    std::span<const double> targets, int replicates, uint64_t seed);

// McNemar's test (1947), exact: of the pairs that exactly one of two models decides correctly, are as many the one's as the other's?
struct PairedTest {
  int64_t only_a = 0, only_b = 0;  // pairs that only model a, only model b decides correctly
  double p = 1;                    // two-sided binomial probability of a division at least as uneven
};
PairedTest mcnemar(int64_t only_a, int64_t only_b);
// The same from two models' decisions on the same pairs. Error if they are not equally many.
PairedTest mcnemar(std::span<const Decision> a, std::span<const Decision> b);

}  // namespace vitrine::eval
