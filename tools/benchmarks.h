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

struct Where {
  std::string data, list;       // folder, and list file where it is not the set's own
  bool folds_by_class = false;  // of a .bin file, instead of ten contiguous ones
};
constexpr const char* kBenchmarkHelp =
    "lfw, calfw, cplfw, sllfw, cfp-ff, cfp-fp, agedb (list and images in DIR or DIR/NAME as distributed, or NAME.bin there), "
    "NAME=LIST_FILE, "
    "NAME=FILE.bin, or synthetic-lfw, -calfw, -cplfw, -sllfw: built in";
// Error that names what is missing and where it was looked for.
Benchmark open_benchmark(const std::string& spec, const Where&, uint64_t seed);
// InsightFace's .bin: images and pairs in one file.
Benchmark open_bin(const std::string& name, const std::string& file, bool folds_by_class);

// The list's images, its own or below `data_dir` (images, "aligned images", NAME/..), whatever their extension. Error that names the first
// missing one and counts the rest.
std::shared_ptr<const data::Dataset> images_of(const Benchmark&, const std::string& data_dir);
eval::Trials compare_by_model(const Model&, const Benchmark&, const std::string& data_dir, bool flip);
// `names_file`, if given, says which image each row belongs to: a path as the list has it, or below `data_dir`.
eval::Trials compare_embeddings(const Benchmark&, const std::string& npy_file, const std::string& names_file, const std::string& data_dir);

Json to_json(const Benchmark&, const eval::Verification&);

}  // namespace vitrine::tools
