// A table of the paper beside our own numbers: every claim, ours, the difference, whether the claim lies inside our interval, and the notes
// of the audit below.
#pragma once
#include <functional>
#include <optional>

#include "eval/verify.h"
#include "tools/command.h"
#include "tools/html.h"
#include "tools/paper.h"

namespace vitrine::tools {

struct Measured {
  double value = 0;
  std::optional<eval::Interval> interval;  // none where nothing was sampled: parameters, bytes
};
using Measurement = std::function<std::optional<Measured>(const PaperRow&, Measure)>;  // nothing where it cannot be had
Measured measured_rate(double rate, const eval::Interval&);                            // in percent

// Prints the table, adds it to the page; the same as JSON, a claim a line.
Json compare_with_paper(int table, const Measurement&, HtmlPage&);

}  // namespace vitrine::tools
