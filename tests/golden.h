// Where golden data lies: tests run from the repository root.
#pragma once
#include <fstream>
#include <iterator>
#include <string>

#include "engine/core/error.h"

namespace vitrine {

inline std::string golden(const std::string& name) { return "tests/golden/" + name; }

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  CHECK(in, path, ": cannot be opened");
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace vitrine
