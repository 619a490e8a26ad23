// What people look at after a run: report.html with loss, learning rate, ranges, ROC.
#pragma once
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "tools/html.h"
#include "tools/run_record.h"
#include "tools/training.h"

namespace vitrine::tools {

void add_training_plots(HtmlPage&, const std::vector<Json>& steps);  // lines of metrics.jsonl; none: nothing is added
void add_ranges(HtmlPage&, const Model& quantized);                  // of activations, by layer; none: nothing is added

// The end of a training: the model, report.html and the record in the run's directory. Returns the result.
Json finish_training(RunRecord&, const Model&, const std::string& title, const Trained&, uint64_t seed);

}  // namespace vitrine::tools
