// The driver of integer convolutions. Output pixels are cut into blocks. A block's source is copied once, padded with x_zero, into a
// strip that stays in L2 (1x1 convolutions without padding read x in place), and then meets one panel of weights after the other.
//   sum of (x - x_zero) * (q + zero) = sum of x * q  -  x_zero * sum of (q + zero)  +  zero * sum of x
// The second term is a constant per output. The third, a sum over the window, is the same for all outputs; it is needed only where q + zero
// does not fit into s8, which for codes of less than eight bits is rare.
#include "engine/cpu/qconv.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/core/parallel.h"
#include "engine/cpu/conv_dense.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/scratch.h"

namespace vitrine::cpu {
namespace {

constexpr int64_t kBlockBytes = 256 << 10;  // of a block's source: with a panel of weights it stays in a 1 MB L2
constexpr int64_t kMinPixels = 98;          // of a block: fewer, and fetching the weights from L3 would show
constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kPanelOutputs = 2 * kQOutputs;
constexpr int64_t kDepthwisePixels = 64;  // whose sources stay in L1 while the channels pass

// How the output is cut: into images or, where these are large, each image into rows. Sizes of blocks differ by one at most.
struct Cut {
  int64_t images, rows;  // number of blocks along n and along oh
  explicit Cut(const ConvShape& s) {
    const int64_t image = s.oh * s.ow, total = s.n * image, tasks = kTasksPerThread * threads();
    const int64_t fits = kBlockBytes / (s.c * s.stride_h * s.stride_w);
    const int64_t pixels = std::max(kMinPixels, std::min(fits, total / tasks));
    const int64_t whole = std::max<int64_t>(1, pixels / image);
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

// What the kernels read of a block.
struct Source {
  const uint8_t* x;
  int64_t pixels;
  int32_t* pixel;   // [pixels] offsets of their first input
  int32_t* window;  // [groups][pixels] sums of their inputs
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
  int64_t tap(int64_t index) const { return index / s_.kw * s_.dilation_h * cols_ + index % s_.kw * s_.dilation_w; }  // pixels

  ConvShape s_;
  const QWeights& w_;
  const QKernels& k_ = qkernels();
  const uint8_t* x_;
  int32_t x_zero_;
  QEpilogue e_;
  QFinish finish_;
  QRuns runs_;
  bool depthwise_, in_place_;
  int64_t cols_;     // source pixels between rows
  int64_t* starts_;  // of runs, in bytes
};

QConv::QConv(const ConvShape& s, const QWeights& w, const uint8_t* x, int32_t x_zero, const QEpilogue& e, uint8_t* codes, float* values)
    : s_(s), w_(w), x_(x), x_zero_(x_zero), e_(e), finish_{}, runs_(s), depthwise_(is_depthwise(s)) {
  in_place_ = s.kh * s.kw == 1 && s.pad_h == 0 && s.pad_w == 0 && s.group_in() % 4 == 0;
  if (in_place_ && s.stride_h == 1 && s.stride_w == 1) s_.h = s_.oh = s.n * s.h * s.w, s_.n = s_.w = s_.ow = 1;
  cols_ = in_place_ ? s_.w : (s.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1;

  // Vectors are copied to where they can be read beyond their end; so kernels need no tails.
  const int64_t pitch = s.o + kPanelOutputs, most = s.kh * s.kw + 1;
  auto* to = static_cast<int32_t*>(scratch_bytes(Slot::weights, 8 * most + 4 * 9 * pitch));
  starts_ = reinterpret_cast<int64_t*>(to);
  to += 2 * most;
  for (const float** v : {&e_.mult, &e_.add, &e_.slope, &e_.post_mult, &e_.post_add, &e_.second_mult, &e_.second_add}) {
    if (!*v) continue;
    *v = static_cast<const float*>(std::memcpy(to, *v, s.o * 4));
    std::memset(to + s.o, 0, kPanelOutputs * 4);
    to += pitch;
  }
  for (int64_t o = 0; o < s.o; ++o) to[o] = static_cast<int32_t>(-uint32_t(x_zero) * uint32_t(w.sum_[o]));
  finish_ = {.e = &e_, .start = to, .weight_zero = w.zero_.data(), .step = s.o, .codes = codes, .values = values};
  if (depthwise_) {
    for (int64_t t = 0; t < most; ++t) starts_[t] = tap(std::min(t, most - 2)) * s.c;
  } else {
    for (int64_t r = 0; r < runs_.count; ++r) starts_[r] = tap(r * runs_.taps) * s.c;
  }
}

void QConv::run() const {
  if (s_.y_numel() == 0) return;
  const Cut cut(s_);
  const int64_t blocks = cut.images * cut.rows;
  const int64_t panels = depthwise_ ? chunk_count(s_.c, kQOutputs) : s_.groups * chunk_count(s_.group_out(), kPanelOutputs);
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
  source.pixel = static_cast<int32_t*>(scratch_bytes(Slot::pointers, source.pixels * 4));
  const int64_t rows = in_place_ ? s_.h : (b.rows - 1) * s_.stride_h + (s_.kh - 1) * s_.dilation_h + 1;  // between images
  if (in_place_) {
    source.x = x_ + (b.n0 * s_.h + b.y0 * s_.stride_h) * s_.w * s_.c;
  } else {
    auto* strip = static_cast<uint8_t*>(scratch_bytes(Slot::strip, b.images * rows * cols_ * s_.c + 64));  // runs end up to 15 bytes later
    fill_strip(b, strip);
    source.x = strip;
  }
  int32_t* to = source.pixel;
  for (int64_t i = 0; i < b.images; ++i)
    for (int64_t y = 0; y < b.rows; ++y)
      for (int64_t x = 0; x < s_.ow; ++x) *to++ = static_cast<int32_t>(((i * rows + y * s_.stride_h) * cols_ + x * s_.stride_w) * s_.c);
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
      if (in_place_) {
        k_.channel_sums(x + source.pixel[row * s_.ow], s_.stride_w * s_.c, s_.ow, in, to);
        continue;
      }
      std::fill_n(to, s_.ow, 0);
      for (int64_t t = 0; t < s_.kh * s_.kw; ++t) {
        const int32_t* from = sums + source.pixel[row * s_.ow] / s_.c + tap(t);
        for (int64_t i = 0; i < s_.ow; ++i) to[i] += from[i * s_.stride_w];
      }
    }
  }
}

void QConv::panel(const Source& source, int64_t index, int64_t at) const {
  const int64_t out = s_.group_out(), per_group = chunk_count(out, kPanelOutputs), group = index / per_group,
                first = index % per_group * kPanelOutputs;
  const int64_t blocks = std::min<int64_t>(2, chunk_count(out - first, kQOutputs)), depth = runs_.count * runs_.length();
  const int64_t line = depth * (group * chunk_count(out, kQOutputs) + first / kQOutputs);
  QTile t{source.x + group * s_.group_in(), source.pixel, starts_, runs_.count, runs_.length(), w_.lines_.data() + line, blocks, finish_};
  t.finish.first = group * out + first, t.finish.outputs = out - first, t.finish.at = at + t.finish.first;
  t.finish.window = source.window ? source.window + group * source.pixels : nullptr;
  if (w_.planes_) {
    t.w = w_.lines_.data() + line / 4 * w_.planes_;
    if (source.pixels == 1) return k_.product[w_.planes_ - 1][blocks - 1](t);
    auto* lines = static_cast<QLine*>(scratch_bytes(Slot::panel, depth * blocks * static_cast<int64_t>(sizeof(QLine))));
    k_.unpack[w_.planes_ - 1](t.w, depth * blocks, lines);
    t.w = lines;
  }
  const QTile panel = t;
  const int64_t pieces = chunk_count(source.pixels, k_.pixels);
  for (int64_t b = 0; b < blocks; b += k_.blocks)
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t p = source.pixels * i / pieces, count = source.pixels * (i + 1) / pieces - p, o = b * kQOutputs;
      t.pixel = panel.pixel + p, t.w = panel.w + b;
      if (source.window) t.finish.window = panel.finish.window + p;
      t.finish.first = panel.finish.first + o, t.finish.outputs = panel.finish.outputs - o, t.finish.at = panel.finish.at + p * s_.o + o;
      k_.tile[std::min(k_.blocks, blocks - b) - 1][count](t);
    }
}

void QConv::depthwise(const Source& source, int64_t begin, int64_t end, int64_t at) const {
  const int64_t pairs = chunk_count(s_.kh * s_.kw, 2);
  for (int64_t p = 0; p < source.pixels; p += kDepthwisePixels)
    for (int64_t i = begin; i < end; ++i) {
      QDepthwise t{source.x, source.pixel + p, std::min(kDepthwisePixels, source.pixels - p), starts_, pairs, w_.lines_.data() + i * pairs,
                   finish_};
      t.finish.first = i * kQOutputs, t.finish.outputs = s_.c - t.finish.first, t.finish.at = at + p * s_.o + t.finish.first;
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
