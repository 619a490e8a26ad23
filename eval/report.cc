#include "eval/report.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace vitrine::eval {
namespace {

constexpr size_t kColumns = 7;
using Cells = std::array<std::string, kColumns>;

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
          format("%.2f", 100 * r.accuracy),
          format("%.2f-%.2f", 100 * interval.low, 100 * interval.high),
          format("%.2f", 100 * r.std),
          threshold_range(r.folds)};
}

}  // namespace

std::string report_table(const std::vector<ReportRow>& rows) {
  std::vector<Cells> table = {{"benchmark", "pairs", "correct", "accuracy %", "95 % interval", "std %", "thresholds"}};
  for (const ReportRow& row : rows) table.push_back(cells(row));
  std::array<size_t, kColumns> width{};
  for (const Cells& line : table) {
    for (size_t c = 0; c < kColumns; ++c) width[c] = std::max(width[c], line[c].size());
  }
  std::string text;
  for (const Cells& line : table) {
    text += line[0] + std::string(width[0] - line[0].size(), ' ');  // names to the left, numbers to the right
    for (size_t c = 1; c < kColumns; ++c) text += std::string(2 + width[c] - line[c].size(), ' ') + line[c];
    text += '\n';
  }
  return text;
}

}  // namespace vitrine::eval
