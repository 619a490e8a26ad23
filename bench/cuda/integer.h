// The integer part of gpu_bench; see integer.cc.
#pragma once
#include <string>
#include <vector>

namespace vitrine::bench {

void integer_rows(const std::vector<std::string>& networks, const std::vector<int64_t>& batches);

}  // namespace vitrine::bench
