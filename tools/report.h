// What people look at after a run: report.html with loss, learning rate, ranges, ROC.
#pragma once
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "eval/report.h"
#include "tools/html.h"
#include "tools/run_record.h"

namespace vitrine::tools {

void add_training_plots(HtmlPage&, const std::vector<Json>& steps);  // lines of metrics.jsonl; none: nothing is added
void add_ranges(HtmlPage&, const Model& quantized);                  // of activations, by layer; none: nothing is added

struct NamedTrials {
  std::string name;
  eval::Trials trials;
};
void add_roc(HtmlPage&, const std::string& title, const std::vector<NamedTrials>&);
void add_verification(HtmlPage&, const std::vector<eval::ReportRow>&, const std::vector<NamedTrials>&);

// report.html in the run directory.
void training_report(RunRecord&, const Model&, const std::string& title);

}  // namespace vitrine::tools
