#include "engine/core/profile.h"

#include <algorithm>
#include <cstdio>
#include <vector>

namespace vitrine {

std::string profile_table(const Profile& profile) {
  std::vector<std::pair<std::string, OpCost>> rows(profile.begin(), profile.end());
  std::sort(rows.begin(), rows.end(), [](auto& a, auto& b) { return a.second.seconds > b.second.seconds; });
  OpCost all;
  for (auto& [name, cost] : rows) all.calls += cost.calls, all.bytes += cost.bytes, all.seconds += cost.seconds;
  rows.emplace_back("all", all);
  std::string text = "operator                calls    seconds   share       GB    GB/s\n";
  for (auto& [name, cost] : rows) {
    const double gigabytes = static_cast<double>(cost.bytes) * 1e-9;
    char line[128];
    std::snprintf(line, sizeof line, "%-20s %8ld %10.3f  %5.1f%% %8.2f %7.1f\n", name.c_str(), static_cast<long>(cost.calls), cost.seconds,
                  100 * cost.seconds / std::max(all.seconds, 1e-9), gigabytes, gigabytes / std::max(cost.seconds, 1e-9));
    text += line;
  }
  return text;
}

}  // namespace vitrine
