// Which images, in which order: an epoch is a list of batches, drawn before it starts and reproducible from (seed, epoch).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace vitrine::data {

struct Sample {
  int64_t index;  // into a Dataset
  bool flip;      // mirrored left-right
  bool operator==(const Sample&) const = default;
};
using Batches = std::vector<std::vector<Sample>>;  // one entry per step

// All n images once, in random order, in batches of `batch`; a shorter last batch is dropped unless drop_last is false.
// Each image is mirrored with probability 1/2 if `flip`. Error unless 0 < batch, and batch <= n when the rest is dropped.
Batches shuffled_batches(int64_t n, int64_t batch, uint64_t seed, uint64_t epoch, bool flip = true, bool drop_last = true);

// Parts of one EKD step; see balanced_batches.
struct Balanced {
  int64_t general = 32;    // images drawn from the whole set
  int64_t identities = 8;  // labels, drawn with replacement
  int64_t images = 4;      // of each of these labels
};

// The batches of evaluation-oriented distillation (EKD, Huang et al., CVPR 2022), composed as in its published sampler. Per step:
// first `general` images, without replacement over the epoch; then, for each of `identities` labels drawn uniformly from those
// present, `images` images of it: a random choice if it has more, all if it has as many, else its list repeated and cut (4 from 3:
// a b c a). Every sample is mirrored with probability 1/2. There are labels.size() / general steps (LFW: 413).
// Error if that is none, or a count is not positive.
Batches balanced_batches(const std::vector<int64_t>& labels, uint64_t seed, uint64_t epoch, const Balanced& counts = {});

// Recorded batches: a line per step of blank-separated integers; v >= 0 is image v as it is, v < 0 is image -v-1 mirrored.
// Error with file:line for an empty line, a field that is no integer, or an image outside a set of `size`; Error for an empty file.
Batches read_batches(const std::string& path, int64_t size);

// floor(n * fraction) distinct indices of 0 .. n-1, ascending, chosen by seed; of two fractions the smaller choice is part of the
// larger. Error unless 0 < fraction <= 1 and at least one index is left.
std::vector<int64_t> subset(int64_t n, double fraction, uint64_t seed);

}  // namespace vitrine::data
