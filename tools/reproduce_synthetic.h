// The paper's five tables in small: networks of an eighth of the width learn rendered faces, lose bits and channels, and are measured on
// the five synthetic benchmarks.
#pragma once
#include <string>

#include "tools/command.h"

namespace vitrine::tools {

// `quick`: hardly any training, so that only the way is tested.
Json reproduce_synthetic(int table, bool quick, const std::string& out, const Common&);

}  // namespace vitrine::tools
