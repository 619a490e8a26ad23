// The dot product of templates: eight chains over k mod 8, each product and sum rounded in f64, joined pairwise. The same bits everywhere.
#pragma once
#include <cstdint>

namespace vitrine {

inline constexpr int kChains = 8;
inline double join_chains(const double* s) { return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])); }

inline double dot_in_chains(const double* a, const double* b, int64_t n) {
  double sum[kChains] = {};
  int64_t k = 0;
  for (; k + kChains <= n; k += kChains)
    for (int c = 0; c < kChains; ++c) sum[c] += a[k + c] * b[k + c];
  for (int64_t rest = k; rest < n; ++rest) sum[rest - k] += a[rest] * b[rest];
  return join_chains(sum);
}

}  // namespace vitrine
