// The driver of integer convolutions. Output pixels are cut into blocks. A block's source is copied once, padded with x_zero, into a
// strip that stays in L2 (1x1 convolutions without padding read x in place), and then meets one panel of weights after the other.
//   sum of (x - x_zero) * (q + zero) = sum of x * q  -  x_zero * sum of q  +  zero * sum of (x - x_zero)
// The second term is a constant per output, with which sums start. The third, a sum over the window, is the same for all outputs; it is
// needed only where q + zero does not fit into s8, which for codes of less than eight bits is rare.
// Taps in the padding add nothing: pixels at an edge form regions of their own, whose first two terms run over the taps inside.
#include "engine/cpu/qconv.h"

#include <algorithm>
#include <cstring>

#include "engine/core/parallel.h"
#include "engine/cpu/conv_dense.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/scratch.h"

namespace vitrine::cpu {
namespace {

constexpr int64_t kBlockBytes = 256 << 10;  // of a block's source: with a panel of weights it stays in a 1 MB L2
constexpr int64_t kMaxStrip = 1 << 30;      // of a block with padding: addresses in it are 32 bits
constexpr int64_t kMinPixels = 98;          // of a block: fewer, and fetching the weights from L3 would show
constexpr int64_t kBlocksPerThread = 4, kTasksPerThread = 2;
constexpr int64_t kPanelOutputs = kQMaxBlocks * kQOutputs;
constexpr int64_t kDepthwisePixels = 64;  // whose sources stay in L1 while the channels pass

// How the output is cut: into images or, where these are large, each image into rows. Sizes of blocks differ by one at most.
struct Cut {
  int64_t images, rows;  // number of blocks along n and along oh
  explicit Cut(const ConvShape& s) {
    const int64_t image = s.oh * s.ow, total = s.n * image, tasks = kBlocksPerThread * threads();
    const int64_t fits = kBlockBytes / (s.c * s.stride_h * s.stride_w);
    const int64_t pixels = std::max(kMinPixels, std::min(fits, total / tasks));
    const int64_t padded = (s.h + 2 * s.pad_h) * (s.w + 2 * s.pad_w) * s.c;
    const int64_t whole = std::clamp<int64_t>(kMaxStrip / padded, 1, std::max<int64_t>(1, pixels / image));
    images = chunk_count(s.n, whole);
    rows = whole > 1 ? 1 : std::min(s.oh, chunk_count(image, pixels));
    if (images * rows > 1 && images == 1) rows = std::min(s.oh, chunk_count(rows, threads()) * threads());
  }
};

struct Block {
  int64_t n0, images, y0, rows;
  Block(const ConvShape& s, const Cut& c, int64_t index) {
    const int64_t i = index / c.rows, j = index % c.rows;
    n0 = s.n * i / c.images, images = s.n * (i + 1) / c.images - n0;
    y0 = s.oh * j / c.rows, rows = s.oh * (j + 1) / c.rows - y0;
  }
};

// Outputs [begin, end) along an axis have their taps [first, last) inside of the image.
struct Range {
  int64_t begin, end, first, last;
};

// An axis as first, middle and last outputs; or as one range with all taps, where it does not fall apart so simply.
struct Axis {
  Range range[3];
  int64_t count = 0;

  Axis(int64_t out, int64_t in, int64_t taps, int64_t stride, int64_t pad, int64_t dilation, bool split) {
    for (int64_t i = 0; split && i < out; ++i) {
      auto taps_before = [&](int64_t x) { return std::clamp<int64_t>(chunk_count(std::max<int64_t>(0, x), dilation), 0, taps); };
      const int64_t first = taps_before(pad - i * stride), last = std::max(first, taps_before(in + pad - i * stride));
      if (count > 0 && range[count - 1].first == first && range[count - 1].last == last)
        ++range[count - 1].end;
      else if (count < 3)
        range[count++] = {i, i + 1, first, last};
      else
        split = false;
    }
    if (!split) range[0] = {0, out, 0, taps}, count = 1;
  }
};
constexpr int64_t kMaxRegions = 9;

// What the kernels read of a block: its pixels, region after region.
struct Source {
  const uint8_t* x;
  int32_t* pixel;   // offsets of their first input
  int32_t* place;   // where they lie in the block of y
  int32_t* window;  // [groups][place] sums of their inputs, or null
  int64_t pixels, end[kMaxRegions];
};

}  // namespace

// One call.
class QConv {
 public:
  QConv(const ConvShape& s, const QWeights& w, const uint8_t* x, int32_t x_zero, const QEpilogue& e, uint8_t* codes, float* values);
  void run() const;

 private:
  void prepare(const Block&, Source&) const;
  void fill_strip(const Block&, uint8_t* strip) const;
  void sum_windows(const Block&, Source&, int64_t strip_rows) const;
  void panel(const Source&, int64_t index, int64_t at) const;
  void depthwise(const Source&, int64_t begin, int64_t end, int64_t at) const;
  void plan_region(const Range& y, const Range& x, QRun* runs, int64_t& count, int32_t* start) const;
  int64_t tap(int64_t ky, int64_t kx) const { return (ky * s_.dilation_h * cols_ + kx * s_.dilation_w) * s_.c; }  // in bytes

  ConvShape s_;
  const QWeights& w_;
  const QKernels& k_ = qkernels();
  const uint8_t* x_;
  int32_t x_zero_;
  QEpilogue e_;
  QFinish finish_;
  QRuns runs_;
  bool depthwise_, in_place_;
  int64_t cols_;  // source pixels between rows
  Axis ys_, xs_;
  int64_t pitch_;                // of vectors of outputs
  QRun* region_runs_;            // [region][run]
  int64_t counts_[kMaxRegions];  // of runs
  int64_t* taps_;                // of depthwise convolutions
};

QConv::QConv(const ConvShape& s, const QWeights& w, const uint8_t* x, int32_t x_zero, const QEpilogue& e, uint8_t* codes, float* values)
    : s_(s),
      w_(w),
      x_(x),
      x_zero_(x_zero),
      e_(e),
      finish_{},
      runs_(s),
      depthwise_(is_depthwise(s)),
      in_place_(s.kh * s.kw == 1 && s.pad_h == 0 && s.pad_w == 0 && s.group_in() % 4 == 0),
      cols_(in_place_ ? s.w : (s.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1),
      ys_(s.oh, s.h, s.kh, s.stride_h, s.pad_h, s.dilation_h, !depthwise_ && !in_place_),
      // A run starts and ends where a line does.
      xs_(s.ow, s.w, s.kw, s.stride_w, s.pad_w, s.dilation_w, !depthwise_ && !in_place_ && (runs_.taps == 1 || s.c % 4 == 0)),
      pitch_(s.o + kPanelOutputs) {
  if (in_place_ && s.stride_h == 1 && s.stride_w == 1) {
    s_.h = s_.oh = s.n * s.h * s.w, s_.n = s_.w = s_.ow = cols_ = 1;
    ys_ = Axis(s_.oh, s_.h, 1, 1, 0, 1, false), xs_ = Axis(1, 1, 1, 1, 0, 1, false);
  }
  const int64_t regions = ys_.count * xs_.count, taps = s.kh * s.kw;
  auto* memory =
      static_cast<char*>(scratch_bytes(Slot::weights, regions * taps * sizeof(QRun) + (taps + 1) * 8 + 4 * (7 + regions) * pitch_));
  region_runs_ = reinterpret_cast<QRun*>(memory);
  taps_ = reinterpret_cast<int64_t*>(region_runs_ + regions * taps);
  auto* to = reinterpret_cast<int32_t*>(taps_ + taps + 1);
  finish_ = {.e = &e_, .start = to, .weight_zero = w.zero_.data(), .step = s.o, .codes = codes, .values = values};
  for (int64_t i = 0; i < regions; ++i, to += pitch_)
    plan_region(ys_.range[i / xs_.count], xs_.range[i % xs_.count], region_runs_ + i * taps, counts_[i], to);
  for (int64_t t = 0; t <= taps; ++t) taps_[t] = tap(std::min(t, taps - 1) / s.kw, std::min(t, taps - 1) % s.kw);
  // Vectors are copied to where they can be read beyond their end; so kernels need no tails.
  for (const float** v : {&e_.mult, &e_.add, &e_.slope, &e_.post_mult, &e_.post_add, &e_.second_mult, &e_.second_add}) {
    if (!*v) continue;
    *v = static_cast<const float*>(std::memcpy(to, *v, s.o * 4));
    std::memset(to + s.o, 0, kPanelOutputs * 4);
    to += pitch_;
  }
}

// The runs of the taps in y.first..y.last, x.first..x.last, and where sums start.
void QConv::plan_region(const Range& y, const Range& x, QRun* runs, int64_t& count, int32_t* start) const {
  count = 0;
  const int64_t in = s_.group_in(), together = runs_.taps == 1 ? 1 : x.last - x.first;
  for (int64_t ky = y.first; ky < y.last; ++ky)
    for (int64_t kx = x.first; kx < x.last; kx += together)
      runs[count++] = {tap(ky, kx), ky * s_.kw / runs_.taps * runs_.length() + (runs_.taps == 1 ? kx * runs_.length() : kx * in / 4),
                       (together * in + 3) / 4};
  const auto all = static_cast<uint32_t>(s_.kh * s_.kw * in), zero = static_cast<uint32_t>(-x_zero_);
  auto* sum = reinterpret_cast<uint32_t*>(start);  // wraps, as parts of a sum may leave i32
  for (int64_t o = 0; o < s_.o; ++o) sum[o] = zero * all * static_cast<uint32_t>(w_.zero_[o]);
  for (int64_t ky = y.first; ky < y.last; ++ky)
    for (int64_t kx = x.first; kx < x.last; ++kx) {
      const int32_t* tap_sum = w_.tap_sum_.data() + (ky * s_.kw + kx) * s_.o;
      for (int64_t o = 0; o < s_.o; ++o) sum[o] += zero * static_cast<uint32_t>(tap_sum[o]);
    }
  std::fill_n(start + s_.o, kPanelOutputs, 0);
}

void QConv::run() const {
  if (s_.y_numel() == 0) return;
  const Cut cut(s_);
  const int64_t blocks = cut.images * cut.rows;
  const int64_t panels = depthwise_ ? chunk_count(s_.c, 2 * kQOutputs) : s_.groups * QPanel::count(chunk_count(s_.group_out(), kQOutputs));
  const int64_t parts = std::clamp<int64_t>(chunk_count(kTasksPerThread * threads(), blocks), 1, panels);
  parallel_chunks(blocks * parts, [&](int64_t task) {
    const Block b(s_, cut, task / parts);
    const int64_t begin = panels * (task % parts) / parts, end = panels * (task % parts + 1) / parts;
    const int64_t at = (b.n0 * s_.oh + b.y0) * s_.ow * s_.o;
    Source source{};
    prepare(b, source);
    if (depthwise_) return depthwise(source, begin, end, at);
    for (int64_t p = begin; p < end; ++p) panel(source, p, at);
  });
}

void QConv::prepare(const Block& b, Source& source) const {
  source.pixels = b.images * b.rows * s_.ow;
  source.pixel = static_cast<int32_t*>(scratch_bytes(Slot::pointers, 2 * source.pixels * 4));
  source.place = source.pixel + source.pixels;
  const int64_t rows = in_place_ ? s_.h : (b.rows - 1) * s_.stride_h + (s_.kh - 1) * s_.dilation_h + 1;  // between images
  if (in_place_) {
    source.x = x_ + (b.n0 * s_.h + b.y0 * s_.stride_h) * s_.w * s_.c;
  } else {
    auto* strip = static_cast<uint8_t*>(scratch_bytes(Slot::strip, b.images * rows * cols_ * s_.c + 64));  // runs end up to 15 bytes later
    fill_strip(b, strip);
    source.x = strip;
  }
  int64_t p = 0, region = 0;
  for (const Range* ry = ys_.range; ry < ys_.range + ys_.count; ++ry)
    for (const Range* rx = xs_.range; rx < xs_.range + xs_.count; ++rx, source.end[region++] = p)
      for (int64_t i = 0; i < b.images; ++i) {
        const int64_t y0 = std::max<int64_t>(0, ry->begin - b.y0), y1 = std::min(b.rows, ry->end - b.y0);
        auto pixel = [&](int64_t y, int64_t x) { return ((i * rows + y * s_.stride_h) * cols_ + x * s_.stride_w) * s_.c; };
        auto place = [&](int64_t y, int64_t x) { return (i * b.rows + y) * s_.ow + x; };
        auto line = [&](int64_t y, int64_t x, int64_t count, int64_t down, int64_t right) {
          const auto at = static_cast<int32_t>(pixel(y, x)), step = static_cast<int32_t>(pixel(y + down, x + right) - pixel(y, x));
          const auto to = static_cast<int32_t>(place(y, x)), to_step = static_cast<int32_t>(place(y + down, x + right) - place(y, x));
          int32_t *const pixels = source.pixel + p, *const places = source.place + p;
          for (int32_t k = 0; k < count; ++k) pixels[k] = at + k * step, places[k] = to + k * to_step;
          p += count;
        };
        if (rx->end - rx->begin == 1) {
          line(y0, rx->begin, std::max<int64_t>(0, y1 - y0), 1, 0);
        } else {
          for (int64_t y = y0; y < y1; ++y) line(y, rx->begin, rx->end - rx->begin, 0, 1);
        }
      }
  if (w_.window_) sum_windows(b, source, rows);
}

void QConv::fill_strip(const Block& b, uint8_t* strip) const {
  const int64_t y0 = b.y0 * s_.stride_h - s_.pad_h, rows = (b.rows - 1) * s_.stride_h + (s_.kh - 1) * s_.dilation_h + 1;
  const int64_t left = std::min(s_.pad_w, cols_), inside = std::clamp<int64_t>(s_.w, 0, cols_ - left), right = cols_ - left - inside;
  for (int64_t n = b.n0; n < b.n0 + b.images; ++n)
    for (int64_t y = y0; y < y0 + rows; ++y, strip += cols_ * s_.c) {
      if (y < 0 || y >= s_.h) {
        std::memset(strip, x_zero_, cols_ * s_.c);
        continue;
      }
      std::memset(strip, x_zero_, left * s_.c);
      std::memcpy(strip + left * s_.c, x_ + (n * s_.h + y) * s_.w * s_.c, inside * s_.c);
      std::memset(strip + (left + inside) * s_.c, x_zero_, right * s_.c);
    }
}

void QConv::sum_windows(const Block& b, Source& source, int64_t rows) const {
  const int64_t in = s_.group_in(), strip = in_place_ ? 0 : b.images * rows * cols_;
  auto* sums = static_cast<int32_t*>(scratch_bytes(Slot::gradient, (strip + s_.groups * source.pixels) * 4));
  source.window = sums + strip;
  int32_t* to = source.window;
  for (int64_t g = 0; g < s_.groups; ++g) {
    const uint8_t* x = source.x + g * in;
    if (!in_place_) k_.channel_sums(x, s_.c, strip, in, sums);
    for (int64_t row = 0; row < b.images * b.rows; ++row, to += s_.ow) {
      const int64_t first = (row / b.rows * rows + row % b.rows * s_.stride_h) * cols_;
      if (in_place_) {
        k_.channel_sums(x + first * s_.c, s_.stride_w * s_.c, s_.ow, in, to);
        continue;
      }
      std::fill_n(to, s_.ow, 0);
      for (int64_t t = 0; t < s_.kh * s_.kw; ++t) {
        const int32_t* from = sums + first + taps_[t] / s_.c;
        for (int64_t i = 0; i < s_.ow; ++i) to[i] += from[i * s_.stride_w];
      }
    }
  }
}

void QConv::panel(const Source& source, int64_t index, int64_t at) const {
  const int64_t out = s_.group_out(), blocks = chunk_count(out, kQOutputs), per_group = QPanel::count(blocks), group = index / per_group;
  const QPanel panel(blocks, index % per_group);
  const int64_t line = runs_.count * runs_.length() * (group * blocks + panel.first), lines = runs_.count * runs_.length() * panel.blocks;
  const QLine* w = w_.lines_.data() + line;
  QTile t{source.x + group * s_.group_in(), source.pixel, region_runs_, counts_[0], w, panel.blocks, finish_};
  t.finish.place = source.place, t.finish.window = source.window ? source.window + group * source.pixels : nullptr;
  t.finish.first = group * out + panel.first * kQOutputs, t.finish.outputs = out - panel.first * kQOutputs,
  t.finish.at = at + t.finish.first;
  if (w_.planes_) {
    t.w = w_.lines_.data() + line / 4 * w_.planes_;
    if (source.pixels == 1) return k_.product[w_.planes_ - 1][panel.blocks / 2](t);
    auto* unpacked = static_cast<QLine*>(scratch_bytes(Slot::panel, lines * static_cast<int64_t>(sizeof(QLine))));
    k_.unpack[w_.planes_ - 1](t.w, lines, unpacked);
    w = unpacked;
  }
  const QFinish whole = t.finish;
  for (int64_t region = 0, p = 0; region < ys_.count * xs_.count; ++region) {
    const int64_t begin = p, pixels = source.end[region] - begin, pieces = chunk_count(pixels, k_.pixels);
    t.runs = region_runs_ + region * s_.kh * s_.kw, t.run_count = counts_[region];
    for (int64_t b = 0; b < panel.blocks; b += k_.blocks) {
      t.w = w + b;
      t.finish.start = whole.start + region * pitch_;
      t.finish.first = whole.first + b * kQOutputs, t.finish.outputs = whole.outputs - b * kQOutputs,
      t.finish.at = whole.at + b * kQOutputs;
      for (int64_t i = 0; i < pieces; ++i) {
        p = begin + pixels * i / pieces;
        t.pixel = source.pixel + p, t.finish.place = source.place + p;
        k_.tile[std::min(k_.blocks, panel.blocks - b) / 2][begin + pixels * (i + 1) / pieces - p](t);
      }
    }
    p = source.end[region];
  }
}

void QConv::depthwise(const Source& source, int64_t begin, int64_t end, int64_t at) const {
  const int64_t pairs = chunk_count(s_.kh * s_.kw, 2);
  for (int64_t p = 0; p < source.pixels; p += kDepthwisePixels)
    for (int64_t i = begin; i < end; ++i) {
      QDepthwise t{
          source.x, source.pixel + p, std::min(kDepthwisePixels, source.pixels - p), taps_, pairs, w_.lines_.data() + 2 * i * pairs,
          finish_};
      t.finish.place = source.place + p;
      t.finish.first = 2 * i * kQOutputs, t.finish.outputs = s_.c - t.finish.first, t.finish.at = at + t.finish.first;
      k_.depthwise(t);
    }
}

void qconv(const ConvShape& s, const QWeights& w, const uint8_t* x, int32_t x_zero, const QEpilogue& e, uint8_t* y) {
  QConv(s, w, x, x_zero, e, y, nullptr).run();
}
void qconv(const ConvShape& s, const QWeights& w, const uint8_t* x, int32_t x_zero, const QEpilogue& e, float* y) {
  QConv(s, w, x, x_zero, e, nullptr, y).run();
}

}  // namespace vitrine::cpu
