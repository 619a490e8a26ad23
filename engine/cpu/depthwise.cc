// Depthwise convolution: vectors run along the channels, and the work is bound by memory, so x is read in place. A tap is an address that
// advances from pixel to pixel; a tap above or below the image points into a row of zeros. The few pixels at the left and right edge
// get addresses of their own.
#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/core/parallel.h"
#include "engine/cpu/conv_dense.h"
#include "engine/cpu/conv_taps.h"
#include "engine/cpu/scratch.h"

namespace vitrine::cpu {
namespace {

const float* pack(const Kernels& k, const ConvShape& s, const float* w) {
  float* to = scratch(Slot::weights, depthwise_floats(k, s));
  pack_depthwise(k, s, w, to);
  return to;
}

// The columns [lo, hi) of y for which every tap lies inside of the image.
struct Inner {
  int64_t lo, hi;
  explicit Inner(const TapConv& t) : lo(0), hi(t.ow) {
    for (const Tap& tap : t.taps) {
      lo = std::max(lo, (std::max<int64_t>(0, -tap.x) + t.step_x - 1) / t.step_x);
      hi = std::min(hi, t.w - 1 - tap.x < 0 ? 0 : (t.w - 1 - tap.x) / t.step_x + 1);
    }
    lo = std::min(lo, t.ow), hi = std::max(hi, lo);
  }
  // Number of columns from `col` on that share one set of addresses.
  int64_t reach(int64_t col) const { return col >= lo && col < hi ? hi - col : 1; }
};

// Addresses of the taps of output pixel (n, oy, ox); `zeros` for those outside of the image.
void tap_addresses(const TapConv& t, int64_t n, int64_t oy, int64_t ox, const float* zeros, const float** to) {
  for (const Tap& tap : t.taps) {
    const int64_t y = oy * t.step_y + tap.y, x = ox * t.step_x + tap.x;
    const bool inside = y >= 0 && y < t.h && x >= 0 && x < t.w;
    *to++ = inside ? t.x + ((n * t.h + y) * t.w + x) * t.c : zeros;
  }
}

const float* zero_row(const TapConv& t) {
  const int64_t floats = t.ow * t.step_x * t.c;
  return static_cast<float*>(std::memset(scratch(Slot::strip, floats), 0, floats * 4));
}

// `weights` has one address per tap.
void run_taps(const Kernels& k, const TapConv& t, const std::vector<const float*>& weights) {
  const Inner inner(t);
  const int64_t taps = static_cast<int64_t>(t.taps.size());
  const int64_t grain = std::clamp<int64_t>(t.n * t.oh / (8 * threads()), 1, 32);
  parallel_for(t.n * t.oh, grain, [&](int64_t begin, int64_t end) {
    const float* zeros = zero_row(t);
    auto** x = static_cast<const float**>(scratch_bytes(Slot::pointers, (taps + 1) * sizeof(float*)));
    for (int64_t row = begin; row < end; ++row)
      for (int64_t col = 0, count; col < t.ow; col += count) {
        count = inner.reach(col);
        const int64_t n = row / t.oh, oy = row % t.oh;
        tap_addresses(t, n, oy, col, zeros, x);
        float* y = t.y + n * t.y_image + oy * t.y_row + col * t.y_pixel;
        k.depthwise_row({x, weights.data(), taps, t.step_x * t.c, y, t.y_pixel, count, t.c, t.finish});
      }
  });
}

// Sums of one pixel block for the channels [first, first + channels): dw[taps][c].
void block_sums(const Kernels& k, const ConvShape& s, const TapConv& t, const float* g, int64_t block, int64_t first, int64_t channels,
                float* dw) {
  const GradWBlocks blocks = grad_w_blocks(s);
  const Inner inner(t);
  const int64_t n0 = block / blocks.down * blocks.images, n1 = std::min(s.n, n0 + blocks.images);
  const int64_t y0 = block % blocks.down * blocks.rows, y1 = std::min(s.oh, y0 + blocks.rows), taps = s.kh * s.kw;
  const int64_t most = (n1 - n0) * (y1 - y0) * (inner.lo + 1 + s.ow - inner.hi);  // segments: single edge pixels and the inner run
  const int64_t segment_bytes = most * static_cast<int64_t>(sizeof(Segment));
  auto* segments = static_cast<Segment*>(scratch_bytes(Slot::pointers, segment_bytes + most * taps * sizeof(float*)));
  auto** x = reinterpret_cast<const float**>(segments + most);
  const float* zeros = zero_row(t);
  int64_t used = 0;
  for (int64_t n = n0; n < n1; ++n)
    for (int64_t oy = y0; oy < y1; ++oy)
      for (int64_t col = 0; col < s.ow; col += segments[used++].pixels) {
        tap_addresses(t, n, oy, col, zeros, x + used * taps);
        segments[used] = {x + used * taps, g + ((n * s.oh + oy) * s.ow + col) * s.o, inner.reach(col)};
      }
  const int64_t passes = chunk_count(taps, kMaxTaps - 1), size = chunk_count(taps, passes);
  for (int64_t tap = 0; tap < taps; tap += size) {
    const int64_t count = std::min(size, taps - tap);
    k.depthwise_grad[count]({segments, used, tap, count, s.stride_w * s.c, s.o, dw, s.c, first, channels});
  }
}

}  // namespace

void pack_depthwise(const Kernels& k, const ConvShape& s, const float* w, float* packed) {
  const int64_t taps = s.kh * s.kw, pitch = round_up(s.c, k.lanes);
  for (int64_t c = 0; c < s.c; c += k.lanes) k.transpose(w + c * taps, taps, std::min(k.lanes, s.c - c), taps, packed + c, pitch);
}

void run_depthwise(const Kernels& k, const TapConv& t, const float* packed) {
  std::vector<const float*> weights;
  for (size_t tap = 0; tap < t.taps.size(); ++tap) weights.push_back(packed + static_cast<int64_t>(tap) * round_up(t.c, k.lanes));
  run_taps(k, t, weights);
}

void depthwise_forward(const Kernels& k, const ConvShape& s, const float* x, const float* w, float* y, const Finish<float>* finish) {
  TapConv t = forward_taps(s, x, y);
  t.finish = finish;
  run_depthwise(k, t, pack(k, s, w));
}

void depthwise_grad_x(const Kernels& k, const ConvShape& s, const float* g, const float* w, float* gx) {
  const float* packed = pack(k, s, w);
  for_each_phase(s, g, gx, [&](const TapConv& t, const std::vector<int64_t>& hits) {
    std::vector<const float*> weights;
    for (int64_t tap : hits) weights.push_back(packed + tap * round_up(s.c, k.lanes));
    run_taps(k, t, weights);
  });
}

void depthwise_grad_w(const Kernels& k, const ConvShape& s, const float* x, const float* g, float* gw) {
  const int64_t blocks = grad_w_blocks(s).count(), taps = s.kh * s.kw, wide = 2 * k.lanes, panels = chunk_count(s.c, wide);
  const int64_t parts = std::clamp<int64_t>(chunk_count(4 * threads(), std::max<int64_t>(1, blocks)), 1, panels);
  const TapConv t = forward_taps(s, x, nullptr);
  float* sums = scratch(Slot::gradient, blocks * taps * s.c);  // [block][tap][c]
  parallel_chunks(blocks * parts, [&](int64_t task) {
    const int64_t block = task / parts, part = task % parts;
    const int64_t first = panels * part / parts * wide, end = std::min(s.c, panels * (part + 1) / parts * wide);
    block_sums(k, s, t, g, block, first, end - first, sums + block * taps * s.c);
  });
  parallel_for(taps, 1, [&](int64_t tap, int64_t) {
    float* total = sums + tap * s.c;
    if (blocks == 0) total = scratch(Slot::gradient, s.c), std::fill_n(total, s.c, 0.0f);
    for (int64_t b = 1; b < blocks; ++b)
      for (int64_t c = 0; c < s.c; ++c) total[c] += total[b * taps * s.c + c];
    for (int64_t c = 0; c < s.c; ++c) gw[c * taps + tap] = total[c];
  });
}

}  // namespace vitrine::cpu
