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

// Text lists that people pass around, damaged as hostile ones are. What is said about them can be printed on any terminal.
TEST(Fuzz, ListsWithHugeNumbersStrangeBytesAndPathsToElsewhereAreOneClearLine) {
  const std::set<std::string> lists = {"pairs",       "cfp_paths", "cfp_split", "ijb_ids",   "ijb_points", "ijb_pairs",
                                       "ijb_gallery", "landmarks", "batches",   "decisions", "index",      "plan"};
  size_t tried = 0;
  for (const Target& t : targets()) {
    if (!lists.count(t.name)) continue;
    ++tried;
    for (std::string seed : t.seeds) {
      if (t.name == "decisions" || t.name == "ijb_gallery") seed = seed.substr(seed.find('\n') + 1);  // behind the titles, put back below
      const std::string titles = t.seeds[0].substr(0, seed.size() == t.seeds[0].size() ? 0 : t.seeds[0].size() - seed.size());
      const size_t digit = seed.find_first_of("0123456789"), end = seed.find_first_not_of("0123456789", digit);
      const auto refused = [&](const char* what, size_t at, size_t count, const std::string& with) {
        const Outcome o = run(t, titles + std::string(seed).replace(at, count, with));
        EXPECT_EQ(o.finding, "") << t.name << ", " << what;
        EXPECT_FALSE(o.read) << t.name << ", " << what;
        for (char c : o.error) EXPECT_TRUE(c >= ' ' && c < 127) << t.name << ", " << what << ": byte " << int{c} << " in the message";
      };
      refused("a number of 20 million digits", digit, end - digit, std::string(20'000'000, '9'));
      for (const char* bytes : {"\xff", "\x1b[2J", "\x7f"}) refused("strange bytes", digit, 0, bytes);
      refused("a zero byte", digit, 0, std::string(1, '\0'));
      const bool opens_none = t.name == "decisions" || t.name == "plan";
      const size_t path = opens_none ? 0 : seed.find_first_of("/.");
      if (path > 0 && path != seed.npos) refused("a path to elsewhere", seed.find_last_of("\n\t ", path) + 1, 0, "../../");
    }
  }
  EXPECT_EQ(tried, lists.size());
}

TEST(Fuzz, MutantsDependOnTheirNumberAlone) {
  const Target& t = targets().front();
  std::string first = mutant(t, 7);
  EXPECT_NE(mutant(t, 8), first);
  EXPECT_EQ(mutant(t, 7), first);
}

}  // namespace
}  // namespace vitrine::fuzz
