// The rules of observe() as functions of what can be gathered from x in parallel and in any order: its extremes and histograms. A Source
// gathers them, on its own device:
//   std::pair<float, float> extremes() const;                                         of x and 0
//   template <class Bin> std::vector<int64_t> histogram(int64_t bins, Bin) const;     bin(v) is -1 for those not counted
#pragma once
#include <bit>
#include <numeric>
#include <vector>

#include "quant/ops/loops.h"
#include "quant/ops/observe.h"

namespace vitrine::quant {

// Unsigned integers in the order of the floats, and back.
VITRINE_HD inline uint32_t key(float v) {
  auto b = std::bit_cast<uint32_t>(v);
  return b >> 31 ? ~b : b | 0x80000000u;
}
inline float of_key(uint32_t k) { return std::bit_cast<float>(k >> 31 ? k & 0x7fffffffu : ~k); }

struct UpperHalf {  // of the key
  VITRINE_HD int64_t operator()(float v) const { return v == v ? int64_t{key(v) >> 16} : -1; }
};
struct LowerHalf {  // of the keys with this upper half
  uint32_t upper;
  VITRINE_HD int64_t operator()(float v) const { return v == v && key(v) >> 16 == upper ? int64_t{key(v) & 0xffff} : -1; }
};
struct EvenBins {
  float low, width;
  int64_t bins;
  VITRINE_HD int64_t operator()(float v) const {
    const auto b = v == v ? static_cast<int64_t>((v - low) / width) : int64_t{-1};
    return b < bins ? b : bins - 1;
  }
};

// Selection by the upper, then the lower half of the key.
struct Bin {
  uint32_t index;
  int64_t rank;  // within the bin
};
inline Bin bin_of(const std::vector<int64_t>& counts, int64_t rank) {
  uint32_t i = 0;
  while (rank >= counts[i]) rank -= counts[i++];
  return {i, rank};
}
template <class Source>
std::pair<float, float> percentiles(const Source& x, double keep) {
  auto upper = x.histogram(1 << 16, UpperHalf{});
  int64_t count = std::accumulate(upper.begin(), upper.end(), int64_t{0});
  auto cut = static_cast<int64_t>(static_cast<double>(count) * (100 - keep) / 100 + 1e-6);  // elements beyond each end
  auto element = [&](int64_t rank) {
    Bin high = bin_of(upper, rank);
    return of_key(high.index << 16 | bin_of(x.histogram(1 << 16, LowerHalf{high.index}), high.rank).index);
  };
  return count ? std::pair{std::min(element(cut), 0.f), std::max(element(count - 1 - cut), 0.f)} : std::pair{0.f, 0.f};
}

// On a histogram with 64 bins to a step of the whole range, fewer above 10 bits.
template <class Source>
std::pair<float, float> least_error(const Source& x, int64_t bits) {
  auto [lo, hi] = x.extremes();
  int64_t bins = int64_t{1} << (std::min<int64_t>(bits, 10) + 6);
  float width = (hi - lo) / static_cast<float>(bins);
  if (!(width > 0) || !std::isfinite(width)) return {lo, hi};
  auto counts = x.histogram(bins, EvenBins{lo, width, bins});
  std::vector<float> centre;
  std::vector<double> weight;
  for (int64_t b = 0; b < bins; ++b)
    if (counts[b]) centre.push_back(lo + (static_cast<float>(b) + 0.5f) * width), weight.push_back(static_cast<double>(counts[b]));
  std::vector<float> y(centre.size());
  return shrunken(lo, hi, [&](float from, float to) {
    quantize(centre.data(), y.data(), static_cast<int64_t>(y.size()), quant_params(from, to, bits));
    double e = 0;
    for (size_t i = 0; i < y.size(); ++i) e += weight[i] * static_cast<double>((y[i] - centre[i]) * (y[i] - centre[i]));
    return e;
  });
}

template <class Source>
std::pair<float, float> target(const Source& x, const ObserveAttrs& a) {
  if (a.rule == ObserveAttrs::percentile) return percentiles(x, a.keep);
  return a.rule == ObserveAttrs::mse ? least_error(x, a.bits) : x.extremes();
}

// How far a range moves towards a target: whole from (0, 0), not at all towards (0, 0).
VITRINE_HD inline float observe_step(float lo, float hi, bool fresh, double momentum) {
  return lo == 0 && hi == 0 ? 0.f : fresh ? 1.f : static_cast<float>(1 - momentum);
}

}  // namespace vitrine::quant
