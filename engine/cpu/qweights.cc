// Packing of integer weights; the layouts are those of qkernels.h.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "engine/cpu/conv_dense.h"
#include "engine/cpu/qconv.h"

namespace vitrine::cpu {
namespace {

// A matrix that no L2 holds: its product with few rows is bound by reading it, so it is read packed.
bool bound_by_memory(const ConvShape& s) { return s.kh * s.kw == 1 && s.groups == 1 && s.c % 16 == 0 && s.w_numel() >= 1 << 20; }

}  // namespace

std::vector<int32_t> foldable_zeros(const ConvShape& s, int bits, const int8_t* codes, const int32_t* zero) {
  CHECK(bits >= 2 && bits <= 8, "integer weights of ", bits, " bits, expected 2 to 8");
  const int64_t depth = s.kh * s.kw * s.group_in(), half = int64_t{1} << (bits - 1);
  std::vector<int32_t> fold(s.o);
  for (int64_t o = 0; o < s.o; ++o) {
    const int8_t* q = codes + o * depth;
    const int64_t z = zero ? zero[o] : 0;
    CHECK(std::abs(z) < kQZeroLimit, "zero ", z, " of the weights of output ", o, ", expected less than ", kQZeroLimit);
    int64_t most = 0, low = 0, high = 0;
    for (int64_t i = 0; i < depth; ++i) {
      CHECK(q[i] >= -half && q[i] < half, "code ", int{q[i]}, " of the weights of output ", o, ", expected ", bits, " bits");
      low = std::min(low, q[i] + z), high = std::max(high, q[i] + z);
      most += 255 * std::abs(q[i] + z);
    }
    CHECK(most < int64_t{1} << 31, "the sums of output ", o, " of an integer layer can reach ", most, ", expected less than 2^31");
    fold[o] = low < -128 || high > 127 ? 0 : static_cast<int32_t>(z);
  }
  return fold;
}

QWeights::QWeights(const ConvShape& s, int bits, const int8_t* codes, const int32_t* zero)
    : zero_(s.o + kQMaxBlocks * kQOutputs), tap_sum_(s.kh * s.kw * s.o) {
  const std::vector<int32_t> fold = foldable_zeros(s, bits, codes, zero);
  const int64_t depth = s.kh * s.kw * s.group_in();
  const bool packed = bits <= 6 && bound_by_memory(s);
  std::vector<int8_t> folded(codes, codes + s.w_numel());
  for (int64_t o = 0; o < s.o; ++o) {
    // What is moved from the zero to the codes: all of it, if they stay in s8, or what makes them unsigned.
    const int32_t moved = packed ? 1 << (bits - 1) : fold[o];
    for (int64_t i = 0; i < depth; ++i) {
      folded[o * depth + i] = static_cast<int8_t>(codes[o * depth + i] + moved);
      tap_sum_[i / s.group_in() * s.o + o] += codes[o * depth + i] + moved;
    }
    zero_[o] = (zero ? zero[o] : 0) - moved;
  }
  is_depthwise(s) ? pack_depthwise(s, folded.data()) : pack_dense(s, folded.data());
  if (packed) pack_planes(bits);
}

void QWeights::pack_dense(const ConvShape& s, const int8_t* codes) {
  const QRuns runs(s);
  const int64_t out = s.group_out(), blocks = chunk_count(out, kQOutputs), depth = runs.count * runs.length();
  lines_.assign(s.groups * blocks * depth, QLine{});
  for (int64_t i = 0; i < s.groups * QPanel::count(blocks); ++i) {
    const QPanel panel(blocks, i % QPanel::count(blocks));
    const int64_t group = i / QPanel::count(blocks), first = panel.first * kQOutputs;
    QLine* lines = lines_.data() + depth * (group * blocks + panel.first);
    for (int64_t lane = 0; lane < std::min(panel.blocks * kQOutputs, out - first); ++lane) {
      const int8_t* from = codes + (group * out + first + lane) * runs.count * runs.bytes;
      for (int64_t r = 0; r < runs.count; ++r)
        for (int64_t k = 0; k < runs.bytes; ++k)
          lines[(r * runs.length() + k / 4) * panel.blocks + lane / kQOutputs].byte[4 * (lane % kQOutputs) + k % 4] = *from++;
    }
  }
  window_ = std::any_of(zero_.begin(), zero_.end(), [](int32_t z) { return z != 0; });
}

void QWeights::pack_planes(int bits) {
  planes_ = planes(bits);
  std::vector<QLine> packed(lines_.size() / 4 * planes_);
  for (size_t i = 0; i < lines_.size(); ++i)
    for (int64_t b = 0; b < 64; ++b) {
      QLine* plane = &packed[i / 4 * planes_];
      const int j = i % 4, number = lines_[i].byte[b];
      auto put = [&](int64_t line, int shift, int part) { plane[line].byte[b] = static_cast<int8_t>(plane[line].byte[b] | part << shift); };
      if (planes_ > 1) put(j / 2, 4 * (j % 2), number & 15);
      if (planes_ != 2) put(planes_ - 1, 2 * j, planes_ == 3 ? number >> 4 : number);
    }
  lines_ = std::move(packed);
}

// With 16 bits a weight holds its zero, too.
void QWeights::pack_depthwise(const ConvShape& s, const int8_t* codes) {
  const int64_t taps = s.kh * s.kw, pairs = chunk_count(taps, 2);
  lines_.assign(chunk_count(s.c, kQOutputs) * pairs, QLine{});
  for (int64_t c = 0; c < s.c; ++c)
    for (int64_t t = 0; t < taps; ++t) {
      const auto w = static_cast<int16_t>(codes[c * taps + t] + zero_[c]);
      std::memcpy(lines_[c / kQOutputs * pairs + t / 2].byte + 4 * (c % kQOutputs) + 2 * (t % 2), &w, 2);
    }
  for (int64_t i = 0; i < taps * s.c; ++i) tap_sum_[i] += static_cast<int32_t>(s.group_in()) * zero_[i % s.c];
  std::fill(zero_.begin(), zero_.end(), 0);
}

}  // namespace vitrine::cpu
