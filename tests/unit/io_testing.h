// Shared by the tests of nn/io.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "engine/core/tensor.h"
#include "tests/golden.h"

namespace vitrine {

// A file name in the system's temporary folder, removed at the end of the test.
struct TemporaryFile {
  std::string path;
  explicit TemporaryFile(const std::string& name)
      : path((std::filesystem::temp_directory_path() / cat("vitrine_", getpid(), "_", name)).string()) {}
  ~TemporaryFile() { std::filesystem::remove(path); }
};

// Runs f, which must throw Error; returns its message, which must be one line.
template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline void expect_same(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(str(a.meta()), str(b.meta())) << what;
  EXPECT_EQ(a.values<double>(), b.values<double>()) << what;
}

}  // namespace vitrine
