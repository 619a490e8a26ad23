#include "eval/report.h"

#include <algorithm>
#include <cstdio>

#include "engine/core/error.h"

namespace vitrine::eval {
namespace {

using Cells = std::vector<std::string>;

template <class... Numbers>
std::string format(const char* pattern, Numbers... numbers) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, numbers...);
  return text;
}

std::string threshold_range(const std::vector<FoldResult>& folds) {
  if (folds.empty()) return "-";
  auto by_threshold = [](const FoldResult& a, const FoldResult& b) { return a.threshold < b.threshold; };
  auto [low, high] = std::minmax_element(folds.begin(), folds.end(), by_threshold);
  return low->threshold == high->threshold ? format("%.2f", low->threshold) : format("%.2f-%.2f", low->threshold, high->threshold);
}

Cells cells(const ReportRow& row) {
  const Verification& r = row.result;
  Interval interval = wilson(r.correct, r.pairs);
  return {row.benchmark,
          std::to_string(r.pairs),
          std::to_string(r.correct),
          percent(r.accuracy),
          cat(percent(interval.low), "-", percent(interval.high)),
          percent(r.std),
          threshold_range(r.folds)};
}

}  // namespace

std::string report_table(const std::vector<ReportRow>& rows) {
  std::vector<Cells> table;
  for (const ReportRow& row : rows) table.push_back(cells(row));
  return aligned({"benchmark", "pairs", "correct", "accuracy %", "95 % interval", "std %", "thresholds"}, table);
}

std::string aligned(const Cells& header, const std::vector<Cells>& rows, size_t left) {
  std::vector<size_t> width(header.size());
  const auto for_all = [&](auto use) {
    use(header);
    for (const Cells& line : rows) use(line);
  };
  for_all([&](const Cells& line) {
    for (size_t c = 0; c < width.size(); ++c) width[c] = std::max(width[c], line.at(c).size());
  });
  std::string text;
  for_all([&](const Cells& line) {
    for (size_t c = 0; c < width.size(); ++c) {
      const std::string blank(width[c] - line[c].size(), ' ');
      text += (c > 0 ? "  " : "") + (c < left ? line[c] + blank : blank + line[c]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  });
  return text;
}

std::string percent(double rate, const char* pattern) { return format(pattern, 100 * rate); }

}  // namespace vitrine::eval
