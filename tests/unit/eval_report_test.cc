// The printed table: alignment and rounding.
#include "eval/report.h"

#include <gtest/gtest.h>

namespace vitrine::eval {
namespace {

TEST(EvalReport, Table) {
  Verification lfw{.pairs = 6000, .correct = 5948, .accuracy = 5948 / 6000.0, .std = 0.00464, .xnorm = 1, .folds = {}};
  for (double t : {1.45, 1.46, 1.45}) lfw.folds.push_back({.pairs = 2000, .correct = 1983, .threshold = t});
  Verification perfect{.pairs = 20, .correct = 20, .accuracy = 1, .std = 0, .xnorm = 1, .folds = {{20, 20, 0.5}}};
  EXPECT_EQ(report_table({{"lfw", lfw}, {"synthetic", perfect}}),
            "benchmark  pairs  correct  accuracy %  95 % interval  std %  thresholds\n"
            "lfw         6000     5948       99.13    98.87-99.34   0.46   1.45-1.46\n"
            "synthetic     20       20      100.00   83.89-100.00   0.00        0.50\n");
  EXPECT_EQ(report_table({}), "benchmark  pairs  correct  accuracy %  95 % interval  std %  thresholds\n");
}

}  // namespace
}  // namespace vitrine::eval
