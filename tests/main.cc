// Runs the suite. Its last line is the project's contract: "N passed, N failed, N skipped".
#include <gtest/gtest.h>

#include <cstdio>

#include "engine/cpu/guard.h"

int main(int argc, char** argv) {
  vitrine::cpu::set_guard(true);  // guard bytes round every buffer of the suite
  ::testing::InitGoogleTest(&argc, argv);
  int status = RUN_ALL_TESTS();
  const auto& suite = *::testing::UnitTest::GetInstance();
  std::printf("%d passed, %d failed, %d skipped\n", suite.successful_test_count(), suite.failed_test_count(), suite.skipped_test_count());
  return status;
}
