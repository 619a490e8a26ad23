// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): counter-based, so the n-th number of
// (seed, stream) is the same on every device, in any order and for any number of threads.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>

namespace vitrine {

// Ten rounds over one counter block; pure.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

class Philox {
 public:
  explicit Philox(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  uint32_t next() {
    if (used_ == 4) {
      block_ = philox({lo(count_), hi(count_), lo(stream_), hi(stream_)}, {lo(seed_), hi(seed_)});
      ++count_;
      used_ = 0;
    }
    return block_[used_++];
  }
  uint64_t next64() {
    uint64_t high = next();
    return high << 32 | next();
  }
  double uniform() { return static_cast<double>(next64() >> 11) * 0x1p-53; }  // [0, 1)
  uint64_t below(uint64_t n) {                                                // [0, n), without bias
    uint64_t limit = UINT64_MAX - (UINT64_MAX % n + 1) % n, x;
    do x = next64();
    while (x > limit);
    return x % n;
  }
  double normal() {  // Box-Muller, cosine branch
    double u = 1.0 - uniform(), v = uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * 3.14159265358979323846 * v);
  }

 private:
  static uint32_t lo(uint64_t v) { return static_cast<uint32_t>(v); }
  static uint32_t hi(uint64_t v) { return static_cast<uint32_t>(v >> 32); }
  uint64_t seed_, stream_, count_ = 0;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace vitrine
