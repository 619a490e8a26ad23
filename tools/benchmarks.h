// Pair benchmarks as the command line names them: which list, which images, and what a model scores.
#pragma once
#include <memory>
#include <string>

#include "data/synthetic.h"
#include "engine/graph/graph.h"
#include "eval/pairs.h"
#include "eval/verify.h"
#include "tools/command.h"

namespace vitrine::tools {

struct Benchmark {
  std::string name, list_file;
  eval::PairList pairs;
  std::shared_ptr<const data::Dataset> images;  // in the order of pairs.images; empty: files below the data folder
};

constexpr int64_t kSyntheticPairs = 2000;
// The list of `kind` over rendered faces of people that no training set has.
Benchmark synthetic_benchmark(data::PairKind kind, uint64_t seed, int64_t pairs = kSyntheticPairs);

// "synthetic-lfw", -calfw, -cplfw, -sllfw: built in. "lfw" with its list in DIR, beside DIR, or in `list_file`; "name=FILE" with the list
// in FILE.
Benchmark open_benchmark(const std::string& spec, const std::string& data_dir, const std::string& list_file, uint64_t seed);

// The list's images, its own or below `data_dir`, whatever their extension. Error that names the first missing one and counts the rest.
eval::Trials compare_by_model(const Model&, const Benchmark&, const std::string& data_dir, bool flip);
// `names_file`, if given, says which image each row belongs to: a path as the list has it, or below `data_dir`.
eval::Trials compare_embeddings(const Benchmark&, const std::string& npy_file, const std::string& names_file, const std::string& data_dir);

Json to_json(const Benchmark&, const eval::Verification&);

}  // namespace vitrine::tools
