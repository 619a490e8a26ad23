#include "engine/cpu/qconv.h"

#include <cstdlib>

#include "engine/core/error.h"
#include "engine/cpu/qconv_reference.h"

namespace vitrine::cpu {

QWeights::QWeights(const ConvShape& s, int bits, const int8_t* codes, const int32_t* zero)
    : codes_(codes, codes + s.w_numel()), zero_(s.o) {
  CHECK(bits >= 2 && bits <= 8, "integer weights of ", bits, " bits, expected 2 to 8");
  const int64_t depth = s.kh * s.kw * s.group_in(), half = int64_t{1} << (bits - 1);
  for (int64_t o = 0; o < s.o; ++o) {
    zero_[o] = zero ? zero[o] : 0;
    CHECK(std::abs(int64_t{zero_[o]}) < 1 << 15, "zero ", zero_[o], " of the weights of output ", o, ", expected less than 2^15");
    int64_t most = 0;
    for (int64_t i = o * depth; i < (o + 1) * depth; ++i) {
      CHECK(codes[i] >= -half && codes[i] < half, "code ", int{codes[i]}, " of the weights of output ", o, ", expected ", bits, " bits");
      most += 255 * std::abs(int64_t{codes[i]} + zero_[o]);
    }
    CHECK(most < int64_t{1} << 31, "the sums of output ", o, " of an integer layer can reach ", most, ", expected less than 2^31");
  }
}

void qconv(const ConvShape& s, const QWeights& w, const uint8_t* x, int32_t x_zero, const QEpilogue& e, uint8_t* y) {
  reference::qconv(s, w.codes_.data(), w.zero_.data(), x, x_zero, e, y);
}
void qconv(const ConvShape& s, const QWeights& w, const uint8_t* x, int32_t x_zero, const QEpilogue& e, float* y) {
  reference::qconv(s, w.codes_.data(), w.zero_.data(), x, x_zero, e, y);
}

}  // namespace vitrine::cpu
