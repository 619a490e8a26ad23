#include "engine/cpu/conv_chain.h"

#include <algorithm>

#include "engine/core/parallel.h"
#include "engine/cpu/conv_dense.h"
#include "engine/cpu/conv_taps.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/scratch.h"

namespace vitrine::cpu {
namespace {

using Links = std::vector<FusedConv<float>>;

constexpr int64_t kStripFloats = 168 << 10;  // of two neighbouring buffers: with weights and rows of x they fit into a 1 MB L2
constexpr double kMostWork = 1.2;            // of a strip's multiplications to those that the rows would cost in one piece

struct Rows {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

// The rows of x inside of the image that rows `y` read.
Rows source(const ConvShape& s, Rows y) {
  const int64_t first = y.begin * s.stride_h - s.pad_h, last = (y.end - 1) * s.stride_h - s.pad_h + (s.kh - 1) * s.dilation_h;
  const int64_t begin = std::clamp<int64_t>(first, 0, s.h);
  return {begin, std::clamp<int64_t>(last + 1, begin, s.h)};
}

// Of every link's output.
std::vector<Rows> rows_for(const Links& links, Rows last) {
  std::vector<Rows> rows(links.size());
  for (size_t i = links.size(); i-- > 0; last = source(links[i].s, last)) rows[i] = last;
  return rows;
}

int64_t elements(const ConvShape& s, Rows y) { return y.count() * s.ow * s.o; }

// What lies between the links, in turn in one of two buffers.
struct Buffers {
  int64_t size[2] = {0, 0};
  int64_t floats() const { return size[0] + size[1]; }
  Buffers(const Links& links, const std::vector<Rows>& rows) {
    for (size_t i = 0; i + 1 < links.size(); ++i) size[i % 2] = std::max(size[i % 2], elements(links[i].s, rows[i]));
  }
};

struct Strips {
  int64_t count, rows;  // of an image
  Rows at(int64_t strip, int64_t oh) const { return {strip * rows, std::min(oh, (strip + 1) * rows)}; }
};

double work(const Links& links, const std::vector<Rows>& rows) {
  double sum = 0;
  for (size_t i = 0; i < links.size(); ++i)
    sum += static_cast<double>(elements(links[i].s, rows[i]) * links[i].s.kh * links[i].s.kw * links[i].s.group_in());
  return sum;
}

// The fewest strips that fit the cache and occupy all threads; count 0 if they would cost too much.
Strips cut(const Links& links) {
  const int64_t n = links.back().s.n, oh = links.back().s.oh;
  const double most = kMostWork * work(links, rows_for(links, {0, oh}));
  for (int64_t count = std::min(oh, chunk_count(threads(), n)); count <= oh; ++count) {
    Strips s{0, chunk_count(oh, count)};
    s.count = chunk_count(oh, s.rows);
    double sum = 0;
    bool small = true;
    for (int64_t i = 0; i < s.count; ++i) {
      const std::vector<Rows> rows = rows_for(links, s.at(i, oh));
      sum += work(links, rows), small = small && Buffers(links, rows).floats() <= kStripFloats;
    }
    if (sum > most) break;
    if (small) return s;
  }
  return {0, 0};
}

// Rows `y` of one image of a link; x begins with row `first` of its source.
void run_rows(const Kernels& k, const FusedConv<float>& f, const float* x, int64_t first, float* to, Rows y, const float* depthwise) {
  TapConv t = forward_taps(f.s, x - first * f.s.w * f.s.c, to);
  t.n = 1, t.oh = y.count(), t.affine = f.affine, t.finish = &f.finish;
  for (Tap& tap : t.taps) tap.y += y.begin * t.step_y;
  if (depthwise) return run_depthwise(k, t, depthwise);
  t.panels = f.w, t.wide_panels = true;
  run(k, t);
}

}  // namespace

bool conv2d_chain(const Links& links) {
  if (isa() == Isa::plain) return false;
  const Kernels& k = kernels();
  const FusedConv<float>&front = links.front(), &back = links.back();
  const int64_t oh = back.s.oh;
  if (back.s.n * oh * back.s.ow == 0) return true;
  const Strips strips = cut(links);
  if (!strips.count) return false;

  int64_t packed = 0;
  for (const auto& f : links) packed += is_depthwise(f.s) ? depthwise_floats(k, f.s) : 0;
  float* next = scratch(Slot::weights, packed);
  std::vector<const float*> depthwise(links.size(), nullptr);
  for (size_t i = 0; i < links.size(); ++i)
    if (is_depthwise(links[i].s))
      depthwise[i] = next, pack_depthwise(k, links[i].s, links[i].w, next), next += depthwise_floats(k, links[i].s);

  parallel_chunks(back.s.n * strips.count, [&](int64_t task) {
    const int64_t n = task / strips.count;
    const std::vector<Rows> rows = rows_for(links, strips.at(task % strips.count, oh));
    const Buffers b(links, rows);
    float* buffer[2] = {scratch(Slot::chain, b.floats()), nullptr};
    buffer[1] = buffer[0] + b.size[0];
    const float* x = front.x + n * front.s.h * front.s.w * front.s.c;
    for (size_t i = 0, last = links.size() - 1; i <= last; ++i) {
      float* y = i == last ? back.y + (n * oh + rows[i].begin) * back.s.ow * back.s.o : buffer[i % 2];
      run_rows(k, links[i], x, i ? rows[i - 1].begin : 0, y, rows[i], depthwise[i]);
      x = y;
    }
  });
  return true;
}

}  // namespace vitrine::cpu
