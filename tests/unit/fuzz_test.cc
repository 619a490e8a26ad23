// Every parser on damaged input: each truncation and thousands of mutants end in success or in Error, never in another exception, a crash
// or memory out of proportion. Run it with config=asan to make the check sharp; `make fuzz` does more of the same.
#include <gtest/gtest.h>

#include <set>

#include "tests/support/fuzz.h"

namespace vitrine::fuzz {
namespace {

constexpr uint64_t kMutants = 2500;

TEST(Fuzz, SeedsAreValid) {
  for (const Target& t : targets()) {
    ASSERT_FALSE(t.seeds.empty()) << t.name;
    for (auto& seed : t.seeds) {
      Outcome o = run(t, seed);
      EXPECT_TRUE(o.read && o.finding.empty()) << t.name << ": " << o.error << o.finding;
    }
  }
}

TEST(Fuzz, EveryTruncationIsAnError) {
  for (const Target& t : targets()) {
    for (auto& seed : t.seeds) {
      for (size_t n = 0; n < seed.size(); ++n) {
        Outcome o = run(t, seed.substr(0, n));
        ASSERT_EQ(o.finding, "") << t.name << " cut at " << n;
        ASSERT_FALSE(t.cut_is_error && o.read) << t.name << " cut at " << n;
      }
    }
  }
}

// Some mutants must be read and some refused, for different reasons: otherwise the mutator does not reach the parser.
TEST(Fuzz, MutantsAreReadOrRefused) {
  for (const Target& t : targets()) {
    uint64_t read = 0;
    std::set<std::string> errors;
    for (uint64_t i = 0; i < kMutants; ++i) {
      Outcome o = run(t, mutant(t, i));
      ASSERT_EQ(o.finding, "") << t.name << ", mutant " << i;
      read += o.read;
      errors.insert(o.error);
    }
    EXPECT_TRUE(read > 0 && read < kMutants) << t.name << ": " << read << " read";
    EXPECT_GT(errors.size(), 5u) << t.name;
  }
}

TEST(Fuzz, MutantsDependOnTheirNumberAlone) {
  const Target& t = targets().front();
  std::string first = mutant(t, 7);
  EXPECT_NE(mutant(t, 8), first);
  EXPECT_EQ(mutant(t, 7), first);
}

}  // namespace
}  // namespace vitrine::fuzz
