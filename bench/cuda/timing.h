// How long a step takes on the cuda device: the median of five repetitions of about the given seconds each, and their spread.
#pragma once
#include <algorithm>
#include <array>
#include <chrono>
#include <functional>

#include "engine/core/device.h"

namespace vitrine::bench {

using Step = std::function<void()>;

struct Timing {
  double seconds, spread;  // of a step; largest less smallest, over the median
};

inline Timing timing(const Step& step, double repetition = 0.1) {
  auto seconds_of = [&](int times) {
    const Backend& cuda = backend(Device::cuda);
    cuda.sync();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < times; ++i) step();
    cuda.sync();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  seconds_of(3);  // algorithms are chosen, memory is pooled
  const int times = std::max(1, static_cast<int>(repetition / std::max(1e-6, seconds_of(3) / 3)));
  std::array<double, 5> all;
  for (double& s : all) s = seconds_of(times) / times;
  std::sort(all.begin(), all.end());
  return {all[2], (all[4] - all[0]) / all[2]};
}

}  // namespace vitrine::bench
