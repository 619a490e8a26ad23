// IJB-C and IJB-B as the command line runs them: features from a model or from .npy files, pooled as they come, then 1:1 and 1:N.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/aligned_view.h"
#include "engine/graph/graph.h"
#include "eval/identify.h"
#include "eval/roc.h"
#include "eval/uncertainty.h"
#include "tools/command.h"

namespace vitrine::tools {

struct IjbOptions {
  eval::Pooling pooling;
  data::Unreadable unreadable = data::Unreadable::kError;
  eval::RocRule rule = eval::RocRule::kDropIntermediate;
  int bootstrap = 200;               // replicates, 0: no intervals
  std::string embeddings, mirrored;  // .npy, a row per face in file order; empty: the model's
  Device device = Device::cpu;       // of the scores, where there is no model
  std::string shards;                // folder of finished shards; empty: none are kept
  bool resume = false;
};

struct IjbBenchmark {
  std::string name, folder;
  eval::FaceList faces;
  eval::TemplatePairs pairs;
  std::vector<eval::Enrolment> galleries;
  eval::Enrolment probes;
  std::shared_ptr<const data::Dataset> images;  // loose crops in the order of the faces; none where there are only lists
  std::string note;                             // how the counts differ from the official ones, if they do
};

bool is_ijb(const std::string& benchmark);  // ijbc, ijbb, synthetic-ijbc
// DIR/meta/NAME_*.txt and DIR/loose_crop/, DIR or DIR/NAME. 1:N lists are optional.
IjbBenchmark open_ijb(const std::string& name, const std::string& dir, uint64_t seed);
// The folder that has them; Error that names the first list that is missing.
std::string check_ijb(const std::string& name, const std::string& dir);
IjbBenchmark synthetic_ijb_benchmark(uint64_t seed, int subjects);

struct IjbResult {
  std::string name, protocol, note;
  int64_t faces = 0, templates = 0, pairs = 0, same = 0;
  int64_t skipped = 0, empty_templates = 0, different_names = 0;
  std::vector<eval::OperatingPoint> points, curve;
  std::vector<eval::Interval> intervals;              // of the points' TPR; empty without bootstrap
  std::vector<double> same_sample, different_sample;  // scores at equal ranks, for histograms
  eval::ClosedSet closed;
  std::vector<eval::OpenSet> open;  // a gallery each
};

// `model` may be null if there are embeddings. What a kill left in `shards` is used again with `resume`, if it is of the same run.
IjbResult evaluate_ijb(const Model* model, const IjbBenchmark&, const IjbOptions&, const std::string& fingerprint, uint64_t seed);

std::string target_name(double fpr);  // "1e-4"
void print(std::ostream&, const IjbResult&);
void print_search(std::ostream&, const IjbResult&);  // its 1:N part
Json to_json(const IjbResult&);

}  // namespace vitrine::tools
