// The whole job in small, on rendered faces: what `demo` and `reproduce --synthetic` measure with and how they train.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "nn/network.h"
#include "tools/benchmarks.h"
#include "tools/ijb.h"
#include "tools/training.h"

namespace vitrine::tools {

// A set whose images are rendered once; it owns what it reads.
std::shared_ptr<const data::Dataset> cached(std::shared_ptr<const data::Dataset> images, int64_t most_bytes);

// The four pair lists (in the order of kPairKinds) and a small IJB-C, of people that no training saw.
struct SmallBenchmarks {
  std::vector<Benchmark> lists;
  IjbBenchmark ijb;
  SmallBenchmarks(uint64_t seed, int64_t pairs, int subjects);
};

struct SmallResult {
  std::vector<eval::Trials> trials;  // a list each
  std::vector<eval::Verification> lists;
  IjbResult ijb;
};
SmallResult evaluate(const Model&, const SmallBenchmarks&, uint64_t seed);  // without mirrored images

// A network for square images, trained from scratch with CosFace and a cosine schedule.
Model small_teacher(const std::string& network, nn::NetworkOptions, const data::Dataset&, int64_t epochs, int64_t batch, uint64_t seed,
                    Device);
// One epoch of `terms` (ObjectiveOptions) on balanced batches, at the rate that suits these sizes.
void distil(Model& student, const Model& teacher, const data::Dataset&, const std::string& terms, uint64_t seed);
// Without a fifth of the channels of every layer, by the size of their weights.
Model without_a_fifth(const Model&);

}  // namespace vitrine::tools
