// The table people read: one line a benchmark, every accuracy with its uncertainty.
#pragma once
#include <string>
#include <vector>

#include "eval/verify.h"

namespace vitrine::eval {

struct ReportRow {
  std::string benchmark;
  Verification result;
};

// Aligned columns: benchmark, pairs, correct, accuracy % (mean of folds), its 95 % Wilson interval (from correct / pairs), standard
// deviation of the folds in %, and the range of the folds' thresholds. A title line comes first; each line ends in "\n".
std::string report_table(const std::vector<ReportRow>& rows);

// Columns as wide as their widest cell; the first `left` to the left, the others to the right. Every row has as many cells as the header.
std::string aligned(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows, size_t left = 1);

std::string percent(double rate, const char* pattern = "%.2f");  // 0.99133 -> "99.13"

}  // namespace vitrine::eval
