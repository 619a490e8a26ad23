// Pair benchmarks as the command line names them: which list, which images, and what a model scores.
#pragma once
#include <string>

#include "data/dataset.h"
#include "engine/graph/graph.h"
#include "eval/pairs.h"
#include "eval/verify.h"
#include "tools/command.h"

namespace vitrine::tools {

struct Benchmark {
  std::string name, list_file;
  eval::PairList pairs;
};

// "lfw" with its list in DIR, beside DIR, or in `list_file`; "name=FILE" with the list in FILE.
Benchmark open_benchmark(const std::string& spec, const std::string& data_dir, const std::string& list_file);

// The list's images below `data_dir`, whatever their extension. Error that names the first missing one and counts the rest.
eval::Verification verify_model(const Model&, const Benchmark&, const std::string& data_dir, bool flip);
// The same for images that `set` holds in the order of pairs.images.
eval::Verification verify_model(const Model&, const eval::PairList&, const data::Dataset& set, bool flip);
// `names_file`, if given, says which image each row belongs to: a path as the list has it, or below `data_dir`.
eval::Verification verify_embeddings(const Benchmark&, const std::string& npy_file, const std::string& names_file,
                                     const std::string& data_dir);

Json to_json(const Benchmark&, const eval::Verification&);

}  // namespace vitrine::tools
