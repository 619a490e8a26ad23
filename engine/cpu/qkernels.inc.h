// The register kernels of integer convolutions, written once over the types of one instruction set; included by qkernels_*.cc after they
// define, in an anonymous namespace,
//   I     16 x i32: load, set, codes (u8), +, *, dot (two taps times their weights)    F  16 x f32
//   Acc   sums of 16 outputs: zero, load, sum(), dot(X, W): += four inputs times their weights    W  a line    X  four inputs, repeated
//   store_blocks(I (&)[Blocks], u8*)   codes of neighbouring blocks    sum_bytes(u8*, n)
//   TapWeights, TapSums   of two blocks of channels of a depthwise convolution: load; begin, dot as I's, store
//   kBlocks, kPixels   of a tile: what fits into the registers
// Nothing of the C++ library is used, as in kernels.inc.h.
#pragma once
#include "engine/cpu/qkernels.h"

namespace vitrine::cpu {
namespace {

#define UNROLL _Pragma("GCC unroll 16")

// code() of the law.
I quantize(F v, F scale, F zero, F max) { return F::round(F::fma(v, scale, zero), max); }

// The epilogue of blocks side by side: whole ones of codes, or (Whole: false) a single one that may end early or may be floats. What each
// pixel needs lies in variables: bytes that are stored could be anything's.
template <int Blocks, bool Whole, bool Window, bool Slope>
void finish_blocks(const QFinish& t, const I* sums, int64_t sums_step, int64_t pixels) {
  const QEpilogue& e = *t.e;
  const F out_scale = F::set(e.out_scale), out_zero = F::set(static_cast<float>(e.out_zero));
  const F out_max = F::set(static_cast<float>(e.out_max)), residual_scale = F::set(e.residual_inv_scale);
  const I residual_zero = I::set(-e.residual_zero), code_zero = I::set(-e.out_zero);
  const int64_t o = t.first, at_first = t.at, step = t.step, n = Whole || t.outputs > kQOutputs ? kQOutputs : t.outputs;
  const int32_t *const place = t.place, *const window = t.window;
  uint8_t *const y = t.codes, *const second = e.second;
  const uint8_t* const residual = e.residual;
  const float *const post_mult = e.post_mult, *const post_add = e.post_add, *const second_mult = e.second_mult;
  const float* const second_add = e.second_add;
  const F second_scale = F::set(e.second_scale), second_zero = F::set(static_cast<float>(e.second_zero));
  const F second_max = F::set(static_cast<float>(e.second_max));
  I weight_zero[Blocks];
  F mult[Blocks], add[Blocks], slope[Blocks];
  UNROLL for (int b = 0; b < Blocks; ++b) {
    mult[b] = F::load(e.mult + o + b * kQOutputs), add[b] = F::load(e.add + o + b * kQOutputs);
    if (Window) weight_zero[b] = I::load(t.weight_zero + o + b * kQOutputs);
    if (Slope) slope[b] = F::load(e.slope + o + b * kQOutputs);
  }
  for (int64_t p = 0; p < pixels; ++p, sums += sums_step) {
    const int64_t at = at_first + place[p] * step;
    const I sum_x = Window ? I::set(window[place[p]]) : I::set(0);
    F v[Blocks];
    I code[Blocks];
    UNROLL for (int b = 0; b < Blocks; ++b) {
      v[b] = F::fma(F::from(Window ? sums[b] + sum_x * weight_zero[b] : sums[b]), mult[b], add[b]);
      if (Slope) v[b] = F::prelu(v[b], slope[b]);
    }
    if (residual)
      UNROLL for (int b = 0; b < Blocks; ++b) v[b] =
          F::fma(F::from(I::codes(residual + at + b * kQOutputs, n) + residual_zero), residual_scale, v[b]);
    if (post_mult)
      UNROLL for (int b = 0; b < Blocks; ++b) v[b] =
          F::fma(v[b], F::load(post_mult + o + b * kQOutputs), F::load(post_add + o + b * kQOutputs));
    if (!Whole && !y) {
      v[0].store(t.values + at, n);
      continue;
    }
    UNROLL for (int b = 0; b < Blocks; ++b) code[b] = quantize(v[b], out_scale, out_zero, out_max);
    Whole ? store_blocks(code, y + at) : code[0].store_codes(y + at, n);
    if (!second) continue;
    UNROLL for (int b = 0; b < Blocks; ++b) {
      const F real =
          F::fma(F::from(code[b] + code_zero), F::load(second_mult + o + b * kQOutputs), F::load(second_add + o + b * kQOutputs));
      code[b] = quantize(real, second_scale, second_zero, second_max);
    }
    Whole ? store_blocks(code, second + at) : code[0].store_codes(second + at, n);
  }
}

template <int Blocks, bool Whole>
void finish_blocks(const QFinish& t, const I* sums, int64_t sums_step, int64_t pixels) {
  if (t.window)
    t.e->slope ? finish_blocks<Blocks, Whole, true, true>(t, sums, sums_step, pixels)
               : finish_blocks<Blocks, Whole, true, false>(t, sums, sums_step, pixels);
  else
    t.e->slope ? finish_blocks<Blocks, Whole, false, true>(t, sums, sums_step, pixels)
               : finish_blocks<Blocks, Whole, false, false>(t, sums, sums_step, pixels);
}

// sums[pixel][block] of 16 outputs each.
template <int Blocks>
__attribute__((noinline)) void finish(const QFinish& t, const I* sums, int64_t pixels) {
  if (t.codes && t.outputs >= Blocks * kQOutputs) return finish_blocks<Blocks, true>(t, sums, Blocks, pixels);
  QFinish f = t;
  for (int b = 0; b < Blocks; ++b, f.first += kQOutputs, f.at += kQOutputs, f.outputs -= kQOutputs)
    finish_blocks<1, false>(f, sums + b, Blocks, pixels);
}

template <int Blocks, int Pixels>
void tile(const QTile& t) {
  Acc acc[Pixels][Blocks];
  UNROLL for (int b = 0; b < Blocks; ++b) {
    const Acc start = Acc::load(t.finish.start + t.finish.first + b * kQOutputs);
    UNROLL for (int p = 0; p < Pixels; ++p) acc[p][b] = start;
  }
  const uint8_t* x[Pixels];
  UNROLL for (int p = 0; p < Pixels; ++p) x[p] = t.x + t.pixel[p];
  // The lines of y are asked for now, so that they have arrived when the codes are stored.
  if (t.finish.codes)
    UNROLL for (int p = 0; p < Pixels; ++p) __builtin_prefetch(t.finish.codes + t.finish.at + t.finish.place[p] * t.finish.step, 1);
  const int64_t step = t.w_step;
  for (const QRun* run = t.runs; run < t.runs + t.run_count; ++run) {
    const QLine* w = t.w + run->w * step;
    for (int64_t at = run->x, end = at + 4 * run->length; at < end; at += 4, w += step) {
      W wv[Blocks];
      UNROLL for (int b = 0; b < Blocks; ++b) wv[b] = W::load(w + b);
      UNROLL for (int p = 0; p < Pixels; ++p) {
        const X xv = X::load(x[p] + at);
        UNROLL for (int b = 0; b < Blocks; ++b) acc[p][b].dot(xv, wv[b]);
      }
    }
  }
  I sums[Pixels][Blocks];
  UNROLL for (int p = 0; p < Pixels; ++p) UNROLL for (int b = 0; b < Blocks; ++b) sums[p][b] = acc[p][b].sum();
  finish<Blocks>(t.finish, &sums[0][0], Pixels);
}

// In 16-bit words: there is no shift of bytes, and what crosses from one to the other is masked.
using Words = uint16_t __attribute__((vector_size(64), may_alias));

template <int Planes>
void unpack_four(const QLine* packed, QLine* to) {
  const auto* plane = reinterpret_cast<const Words*>(packed);
  UNROLL for (int j = 0; j < 4; ++j) {
    Words number{};
    if constexpr (Planes == 1) number = plane[0] >> 2 * j & 0x0303;
    if constexpr (Planes > 1) number = plane[j / 2] >> 4 * (j % 2) & 0x0f0f;
    if constexpr (Planes == 3) number |= (j < 2 ? plane[2] << (4 - 2 * j) : plane[2] >> (2 * j - 4)) & 0x3030;
    *reinterpret_cast<Words*>(to + j) = number;
  }
}

template <int Planes>
void unpack(const QLine* packed, int64_t lines, QLine* to) {
  for (int64_t i = 0; i < lines; i += 4, packed += Planes) unpack_four<Planes>(packed, to + i);
}

template <int Planes, int Blocks>
void product(const QTile& t) {
  Acc acc[4];  // one per line: shorter chains
  UNROLL for (int j = 0; j < 4; ++j) acc[j] = j < Blocks ? Acc::load(t.finish.start + t.finish.first + j * kQOutputs) : Acc::zero();
  const QLine* packed = t.w;
  const uint8_t* x = t.x + t.pixel[0] + t.runs->x;
  for (int64_t k = 0; k < t.runs->length; k += 4 / Blocks, packed += Planes) {
    QLine lines[4];
    unpack_four<Planes>(packed, lines);
    UNROLL for (int j = 0; j < 4; ++j) acc[j].dot(X::load(x + 4 * (k + j / Blocks)), W::load(lines + j));
  }
  I sums[Blocks];
  UNROLL for (int b = 0; b < Blocks; ++b) {
    sums[b] = acc[b].sum();
    UNROLL for (int j = b + Blocks; j < 4; j += Blocks) sums[b] = sums[b] + acc[j].sum();
  }
  finish<Blocks>(t.finish, sums, 1);
}

constexpr int64_t kTogether = 4;  // pixels between epilogues

// Two blocks of channels; their weights stay in registers, unless there are none given (Pairs: 0) and they pass for each pixel.
template <int Pairs>
void depthwise_two(const QDepthwise& t) {
  QFinish f = t.finish;
  const uint8_t* x = t.x + f.first;
  const I start[2] = {I::load(f.start + f.first), I::load(f.start + f.first + kQOutputs)};
  const QLine *w = t.w, *w1 = t.w + t.pairs;
  TapWeights weights[Pairs ? Pairs : 1];
  UNROLL for (int i = 0; i < Pairs; ++i) weights[i] = TapWeights::load(w + i, w1 + i);
  for (int64_t p = 0; p < t.pixels; p += kTogether, f.place += kTogether) {
    I sums[kTogether][2];
    const int64_t count = t.pixels - p < kTogether ? t.pixels - p : kTogether;
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t* at = x + t.pixel[p + i];
      TapSums sum = TapSums::begin(start);
      UNROLL for (int k = 0; k < Pairs; ++k) sum.dot(at + t.taps[2 * k], at + t.taps[2 * k + 1], weights[k]);
      for (int64_t k = Pairs; k < t.pairs; ++k) sum.dot(at + t.taps[2 * k], at + t.taps[2 * k + 1], TapWeights::load(w + k, w1 + k));
      sum.store(sums[i]);
    }
    finish<2>(f, &sums[0][0], count);
  }
}

void depthwise(const QDepthwise& t) {
  if (t.finish.outputs > kQOutputs) return t.pairs == 5 ? depthwise_two<5>(t) : depthwise_two<0>(t);
  QFinish f = t.finish;
  const uint8_t* x = t.x + f.first;
  const I start = I::load(f.start + f.first);
  for (int64_t p = 0; p < t.pixels; p += kTogether, f.place += kTogether) {
    I sums[kTogether];
    const int64_t count = t.pixels - p < kTogether ? t.pixels - p : kTogether;
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t* at = x + t.pixel[p + i];
      I sum = start;
      for (int64_t pair = 0; pair < t.pairs; ++pair) sum = sum.dot(at + t.taps[2 * pair], at + t.taps[2 * pair + 1], t.w + pair);
      sums[i] = sum;
    }
    finish<1>(f, sums, count);
  }
}

void channel_sums(const uint8_t* x, int64_t step, int64_t count, int64_t channels, int32_t* sums) {
  for (int64_t i = 0; i < count; ++i, x += step) sums[i] = sum_bytes(x, channels);
}

// Tables without std::index_sequence; what exceeds the registers is never called.
template <int Blocks, int Pixels>
constexpr auto entry() {
  if constexpr (Blocks <= kBlocks && Pixels <= kPixels)
    return tile<Blocks, Pixels>;
  else
    return static_cast<void (*)(const QTile&)>(nullptr);
}
#define TILES(b) \
  { nullptr, entry<b, 1>(), entry<b, 2>(), entry<b, 3>(), entry<b, 4>(), entry<b, 5>(), entry<b, 6>() }
#define PRODUCTS(planes) \
  { product<planes, 1>, product<planes, 2>, product<planes, 4> }
constexpr QKernels kQKernels = {kBlocks,
                                kPixels,
                                {TILES(1), TILES(2), TILES(4)},
                                depthwise,
                                {PRODUCTS(1), PRODUCTS(2), PRODUCTS(3)},
                                {unpack<1>, unpack<2>, unpack<3>},
                                channel_sums};

}  // namespace
}  // namespace vitrine::cpu
