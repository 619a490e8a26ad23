// Searching a gallery: IJB's 1:N protocol, closed and open set. Scores are dot products of unit templates.
#pragma once
#include <array>

#include "eval/ijb.h"
#include "eval/templates.h"

namespace vitrine::eval {

constexpr std::array<int, 3> kRanks = {1, 5, 10};
constexpr std::array<double, 2> kFpirs = {0.01, 0.1};

// A probe's mate is the gallery template of its subject. A probe is found at rank k if fewer than k other templates score higher than the
// mate.
struct ClosedSet {
  int64_t gallery = 0, probes = 0;
  std::array<int64_t, 3> found{};  // at kRanks
  // As ijb_1n.py: the threshold is the ceil(probes * FPIR)-th largest of all scores of probes with templates that are not their mates; a
  // probe counts if its mate scores higher.
  std::array<int64_t, 2> found_at_fpir{};
  std::array<double, 2> thresholds{};
};
// Error if a subject is twice in the gallery or a probe has no mate there.
ClosedSet identify_closed(const Templates& unit, const Enrolment& gallery, const Enrolment& probes);

// As ijb_evals.py, for one gallery: the threshold is the max(floor(n * FPIR) - 1, 0)-th (from 0) of the n mateless probes' best scores in
// descending order; a probe with a mate counts if the mate scores higher than every other template and than the threshold.
struct OpenSet {
  int64_t gallery = 0, mated = 0, mateless = 0;
  std::array<int64_t, 2> found_at_fpir{};
  std::array<double, 2> thresholds{};
};
OpenSet identify_open(const Templates& unit, const Enrolment& gallery, const Enrolment& probes);

// Two galleries as one.
Enrolment join(const Enrolment& a, const Enrolment& b);

}  // namespace vitrine::eval
