// The paper's five tables in small: networks of an eighth of the width learn rendered faces, lose bits, and are measured on the five
// synthetic benchmarks.
#pragma once
#include <string>

#include "tools/command.h"

namespace vitrine::tools {

Json reproduce_synthetic(int table, const std::string& out, const Common&);

}  // namespace vitrine::tools
