// The paper's five tables in small: networks of an eighth of the width learn rendered faces, lose bits, and are measured on the five
// synthetic benchmarks.
#pragma once
#include <string>
#include <vector>

#include "tools/command.h"

namespace vitrine::tools {

Json reproduce_synthetic(int table, const std::string& out, const Common&);

// Columns as wide as their widest cell; the first `left` to the left, the others to the right.
std::string aligned(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows, size_t left);

}  // namespace vitrine::tools
