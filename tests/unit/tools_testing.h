// Shared by the tests of the command line: one call of it, and what a failure must look like.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "engine/core/parallel.h"
#include "tools/command.h"

namespace vitrine::tools {

struct Outcome {
  int code;
  std::string out, err;
  Json json() const { return Json::parse(out); }
};

inline Outcome vitrine(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"vitrine"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  std::ostringstream out, err;
  auto *cout = std::cout.rdbuf(out.rdbuf()), *cerr = std::cerr.rdbuf(err.rdbuf());
  const int before = threads(), code = run_command_line(static_cast<int>(argv.size()), argv.data());
  set_threads(before);
  std::cout.rdbuf(cout), std::cerr.rdbuf(cerr);
  return {code, out.str(), err.str()};
}

// A failure: code 1, no result on standard output, and the last line of standard error (bars apart) says what was wrong.
inline void expect_failure(const std::vector<std::string>& arguments, const std::string& what) {
  const Outcome o = vitrine(arguments);
  EXPECT_EQ(o.code, 1) << what;
  EXPECT_EQ(o.out.find('{'), std::string::npos) << what;
  ASSERT_NE(o.err.find("vitrine: "), std::string::npos) << what;
  const std::string line = o.err.substr(o.err.find("vitrine: "));
  EXPECT_NE(line.find(what), std::string::npos) << line;
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
}

inline void expect_wrong_usage(const std::vector<std::string>& arguments, const std::string& what) {
  const Outcome o = vitrine(arguments);
  EXPECT_EQ(o.code, 2) << what;
  EXPECT_NE(o.err.find(what), std::string::npos) << o.err;
  EXPECT_EQ(o.out.find('{'), std::string::npos) << what;
}

}  // namespace vitrine::tools
