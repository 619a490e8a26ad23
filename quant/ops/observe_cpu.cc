#include "quant/ops/observe.h"

#include <bit>
#include <cmath>
#include <mutex>
#include <numeric>
#include <tuple>

#include "engine/cpu/loops.h"
#include "quant/ops/loops.h"

namespace vitrine::quant {
namespace {

constexpr int64_t kShort = 4 * cpu::kGrain, kLong = int64_t{1} << 20;  // elements per chunk, without and with a histogram each

template <class T>
std::pair<T, T> widened(const T* x, int64_t n, T lo, T hi) {
  const T lo0 = lo, hi0 = hi;
  std::mutex joining;
  parallel_for(n, kShort, [&](int64_t begin, int64_t end) {
    T low = lo0, high = hi0;
    extremes(x + begin, end - begin, &low, &high);
    std::lock_guard lock(joining);
    lo = std::min(lo, low), hi = std::max(hi, high);
  });
  return {lo, hi};
}

// How many elements fall into each bin; bin(v) is -1 for those not counted.
template <class T, class Bin>
std::vector<int64_t> histogram(const T* x, int64_t n, int64_t bins, const Bin& bin) {
  std::vector<int64_t> all(bins);
  std::mutex joining;
  parallel_for(n, kLong, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> own(bins);
    for (int64_t i = begin; i < end; ++i)
      if (int64_t b = bin(static_cast<float>(x[i])); b >= 0) ++own[b];
    std::lock_guard lock(joining);
    for (int64_t b = 0; b < bins; ++b) all[b] += own[b];
  });
  return all;
}

// Unsigned integers in the order of the floats, and back.
uint32_t key(float v) {
  auto b = std::bit_cast<uint32_t>(v);
  return b >> 31 ? ~b : b | 0x80000000u;
}
float of_key(uint32_t k) { return std::bit_cast<float>(k >> 31 ? k & 0x7fffffffu : ~k); }

// Selection by the upper, then the lower half of the key.
struct Bin {
  uint32_t index;
  int64_t rank;  // within the bin
};
Bin bin_of(const std::vector<int64_t>& counts, int64_t rank) {
  uint32_t i = 0;
  while (rank >= counts[i]) rank -= counts[i++];
  return {i, rank};
}
template <class T>
std::pair<float, float> percentiles(const T* x, int64_t n, double keep) {
  auto upper = histogram(x, n, 1 << 16, [](float v) { return v == v ? int64_t{key(v) >> 16} : -1; });
  int64_t count = std::accumulate(upper.begin(), upper.end(), int64_t{0});
  auto cut = static_cast<int64_t>(static_cast<double>(count) * (100 - keep) / 100 + 1e-6);  // elements beyond each end
  auto element = [&](int64_t rank) {
    Bin high = bin_of(upper, rank);
    auto lower = histogram(x, n, 1 << 16, [&](float v) { return v == v && key(v) >> 16 == high.index ? int64_t{key(v) & 0xffff} : -1; });
    return of_key(high.index << 16 | bin_of(lower, high.rank).index);
  };
  return count ? std::pair{std::min(element(cut), 0.f), std::max(element(count - 1 - cut), 0.f)} : std::pair{0.f, 0.f};
}

// On a histogram with 64 bins to a step of the whole range, fewer above 10 bits.
template <class T>
std::pair<float, float> least_error(const T* x, int64_t n, int64_t bits, std::pair<float, float> whole) {
  auto [lo, hi] = whole;
  int64_t bins = int64_t{1} << (std::min<int64_t>(bits, 10) + 6);
  float low = lo, width = (hi - lo) / static_cast<float>(bins);
  if (!(width > 0) || !std::isfinite(width)) return whole;
  auto counts =
      histogram(x, n, bins, [&](float v) { return v == v ? std::min(static_cast<int64_t>((v - low) / width), bins - 1) : int64_t{-1}; });
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

template <class T>
std::pair<float, float> target(const T* x, int64_t n, const ObserveAttrs& a) {
  if (a.rule == ObserveAttrs::percentile) return percentiles(x, n, a.keep);
  std::pair<float, float> whole = widened(x, n, T(0), T(0));
  return a.rule == ObserveAttrs::mse ? least_error(x, n, a.bits, whole) : whole;
}

KernelFor kernel("observe", Device::cpu, [](const Call& c) {
  auto& a = c.as<ObserveAttrs>();
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T *x = c.in[0].data<T>(), *range = c.in[1].data<T>();
    T* out = c.out[0].data<T>();
    int64_t n = c.in[0].numel();
    if (a.rule == ObserveAttrs::minmax) {
      std::tie(out[0], out[1]) = widened(x, n, range[0], range[1]);
      return;
    }
    auto [lo, hi] = target(x, n, a);
    bool fresh = range[0] == 0 && range[1] == 0, nothing = lo == 0 && hi == 0;
    float step = nothing ? 0.f : fresh ? 1.f : static_cast<float>(1 - a.momentum);
    auto move = [&](T from, float to) { return static_cast<float>(from) + step * (to - static_cast<float>(from)); };
    out[0] = move(range[0], lo), out[1] = move(range[1], hi);
  });
});

}  // namespace
}  // namespace vitrine::quant
