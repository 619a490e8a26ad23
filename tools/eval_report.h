// What `vitrine eval` leaves to look at: a page of rates, curves, histograms and the hardest pairs.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "eval/decisions.h"
#include "tools/benchmarks.h"
#include "tools/html.h"
#include "tools/ijb.h"

namespace vitrine::tools {

struct PairResult {
  Benchmark benchmark;
  eval::Trials trials;
  eval::Verification result;
  std::shared_ptr<const data::Dataset> images;  // in the order of benchmark.pairs.images; none: no pictures
};

// What a model is: file, hash, architecture, bits, parameters, MACs, bytes.
Json model_card(const std::string& file, const Model&);
void add_card(HtmlPage&, const Json& card);

void add_pair_results(HtmlPage&, const std::vector<PairResult>&);  // table, ROC, histograms, hardest pairs
void add_ijb_result(HtmlPage&, const IjbResult&);                  // rates, curve, histograms, 1:N

// Share of each class by score, as filled curves.
void add_histogram(HtmlPage&, const std::string& title, const std::string& x_label, const std::vector<double>& same,
                   const std::vector<double>& different);

std::string decisions_file(const std::string& benchmark);  // in a run directory: pairs-NAME.tsv

// ROC with a logarithmic axis and dots at FPR 1e-3, 1e-2, 1e-1, as far as there are pairs enough to tell.
struct Curve {
  std::string name;
  std::vector<eval::OperatingPoint> line, dots;
};
Curve curve_of(const std::string& name, const std::vector<eval::Decision>&);
void add_log_roc(HtmlPage&, const std::string& title, const std::vector<Curve>&);

}  // namespace vitrine::tools
