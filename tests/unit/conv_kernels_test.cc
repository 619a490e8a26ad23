// The order law of engine/cpu/conv.h and matmul.h: the same bits on every instruction set and for any number of threads, and the right
// numbers, against an independent loop over integers.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "engine/core/rng.h"
#include "engine/cpu/conv.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/matmul.h"
#include "tests/unit/conv_testing.h"

namespace vitrine::cpu {
namespace {

using Floats = std::vector<float>;

// Layers of IResNet and MobileFaceNet, channels and rows cut where the plain loops would take seconds, and shapes that fit no tile.
const std::vector<ConvShape>& layers() {
  static const std::vector<ConvShape> all = {
      shape(1, 112, 112, 3, 64, 3, 3, 1, 1),  // stem of IResNet
      shape(1, 112, 96, 3, 64, 3, 3, 2, 1),   // stem of MobileFaceNet
      shape(1, 21, 56, 16, 64, 3, 3, 1, 1),   // channels cut from 64
      shape(1, 43, 56, 24, 40, 3, 3, 2, 1),   // from 64 and 128
      shape(1, 27, 56, 64, 64, 1, 1, 2, 0),   // shortcut
      shape(1, 28, 28, 32, 48, 3, 3, 1, 1),
      shape(2, 14, 14, 33, 65, 3, 3, 1, 1),  // pruned: nothing divides
      shape(3, 14, 14, 48, 31, 3, 3, 2, 1),
      shape(5, 7, 7, 64, 64, 3, 3, 1, 1),  // several images per block
      shape(7, 7, 7, 20, 12, 3, 3, 1, 1),
      shape(1, 23, 48, 64, 128, 1, 1, 1, 0),  // MobileFaceNet, pointwise
      shape(3, 14, 12, 128, 64, 1, 1, 1, 0),
      shape(9, 7, 6, 64, 96, 1, 1, 1, 0),
      shape(1, 56, 48, 64, 64, 3, 3, 1, 1, 64),  // depthwise
      shape(2, 56, 48, 128, 128, 3, 3, 2, 1, 128),
      shape(3, 15, 13, 90, 90, 3, 3, 2, 1, 90),
      shape(4, 7, 6, 512, 512, 7, 6, 1, 0, 512),  // global depthwise
      shape(3, 7, 7, 100, 100, 7, 7, 1, 0, 100),
      shape(2, 14, 14, 24, 24, 5, 5, 1, 2, 24),    // more taps than registers
      shape(2, 14, 14, 128, 128, 3, 3, 1, 1, 64),  // InsightFace's MobileFaceNet: two channels per group
      shape(2, 9, 11, 24, 48, 3, 3, 1, 1, 24),     // depth multiplier 2
      shape(2, 12, 10, 20, 28, 3, 3, 1, 2, 4, 2),  // dilated groups
      shape(3, 7, 6, 24, 40, 7, 6, 1, 0),          // one output pixel per image
      shape(2, 5, 5, 8, 8, 3, 3, 3, 4),            // padding beyond the kernel, stride that leaves gaps
      shape(1, 9, 9, 18, 20, 2, 2, 4, 0),          // pixels that no output sees
      shape(1, 5, 15, 512, 16, 3, 3, 2, 1),        // pixels a page apart
      shape(1, 3, 15, 1024, 20, 1, 1, 1, 0),
      shape(0, 7, 7, 16, 16, 3, 3, 1, 1),  // empty batch
      shape(0, 7, 7, 16, 16, 3, 3, 1, 1, 16),
  };
  return all;
}

template <class Next>
Floats filled(int64_t count, Next&& next) {
  Floats v(count);
  for (float& f : v) f = static_cast<float>(next());
  return v;
}

// Sentinels behind the end catch stores beyond it; NaNs in the output catch elements left out.
constexpr int64_t kGuard = 64;
constexpr float kSentinel = 12345;
Floats guarded(int64_t count) {
  Floats v(count + kGuard, kSentinel);
  std::fill_n(v.begin(), count, std::numeric_limits<float>::quiet_NaN());
  return v;
}
bool same_bits(const Floats& a, const Floats& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0; }

struct Results {
  Floats y, gx, gw;
};
Results all_directions(const ConvShape& s, const Floats& x, const Floats& w, const Floats& g) {
  Results r{guarded(s.y_numel()), guarded(s.x_numel()), guarded(s.w_numel())};
  conv2d(s, x.data(), w.data(), r.y.data());
  conv2d_grad_x(s, g.data(), w.data(), r.gx.data());
  conv2d_grad_w(s, x.data(), g.data(), r.gw.data());
  return r;
}

class ConvKernels : public ::testing::Test {
 protected:
  void TearDown() override {
    set_isa(before_isa_);
    set_threads(before_threads_);
  }
  Isa before_isa_ = isa();
  int before_threads_ = threads();
};

TEST_F(ConvKernels, SameBitsOnEveryInstructionSetAndForAnyNumberOfThreads) {
  for (const ConvShape& s : layers()) {
    SCOPED_TRACE(str(s));
    Philox rng(3);
    auto next = [&] { return rng.normal(); };
    const Floats x = filled(s.x_numel(), next), w = filled(s.w_numel(), next), g = filled(s.y_numel(), next);
    set_isa(Isa::plain), set_threads(4);
    const Results want = all_directions(s, x, w, g);
    for (Isa level : {Isa::avx2, Isa::avx512})
      for (int count : {1, 2, 4}) {
        if (level > best_isa()) continue;
        set_isa(level), set_threads(count);
        const Results got = all_directions(s, x, w, g);
        EXPECT_TRUE(same_bits(got.y, want.y)) << "forward, " << name(level) << ", " << count << " threads";
        EXPECT_TRUE(same_bits(got.gx, want.gx)) << "grad_x, " << name(level) << ", " << count << " threads";
        EXPECT_TRUE(same_bits(got.gw, want.gw)) << "grad_w, " << name(level) << ", " << count << " threads";
      }
  }
}

// Scatter form, in integers: nothing in common with the kernels but the definition.
struct Exact {
  std::vector<int64_t> y, gx, gw;
  Exact(const ConvShape& s, const Floats& x, const Floats& w, const Floats& g) : y(s.y_numel()), gx(s.x_numel()), gw(s.w_numel()) {
    const int64_t ci = s.c / s.groups, co = s.o / s.groups;
    for (int64_t pixel = 0; pixel < s.n * s.h * s.w; ++pixel)
      for (int64_t tap = 0; tap < s.kh * s.kw; ++tap) {
        const int64_t n = pixel / (s.h * s.w), ty = pixel / s.w % s.h + s.pad_h - tap / s.kw * s.dilation_h;
        const int64_t tx = pixel % s.w + s.pad_w - tap % s.kw * s.dilation_w;
        if (ty < 0 || tx < 0 || ty % s.stride_h || tx % s.stride_w || ty / s.stride_h >= s.oh || tx / s.stride_w >= s.ow) continue;
        const int64_t out = (n * s.oh + ty / s.stride_h) * s.ow + tx / s.stride_w;
        for (int64_t o = 0; o < s.o; ++o)
          for (int64_t i = 0; i < ci; ++i) {
            const int64_t xi = pixel * s.c + o / co * ci + i, wi = (o * s.kh * s.kw + tap) * ci + i, yi = out * s.o + o;
            y[yi] += static_cast<int64_t>(x[xi]) * static_cast<int64_t>(w[wi]);
            gx[xi] += static_cast<int64_t>(g[yi]) * static_cast<int64_t>(w[wi]);
            gw[wi] += static_cast<int64_t>(g[yi]) * static_cast<int64_t>(x[xi]);
          }
      }
  }
};

bool equal(const std::vector<int64_t>& want, const Floats& got) {
  for (size_t i = 0; i < want.size(); ++i)
    if (static_cast<float>(want[i]) != got[i]) return false;
  for (size_t i = want.size(); i < got.size(); ++i)
    if (got[i] != kSentinel) return false;
  return true;
}

TEST_F(ConvKernels, ExactOnIntegers) {
  for (const ConvShape& s : layers()) {
    SCOPED_TRACE(str(s));
    Philox rng(4);
    auto next = [&] { return static_cast<int>(rng.below(7)) - 3; };
    const Floats x = filled(s.x_numel(), next), w = filled(s.w_numel(), next), g = filled(s.y_numel(), next);
    const Exact want(s, x, w, g);
    const Results got = all_directions(s, x, w, g);
    EXPECT_TRUE(equal(want.y, got.y)) << "forward";
    EXPECT_TRUE(equal(want.gx, got.gx)) << "grad_x";
    EXPECT_TRUE(equal(want.gw, got.gw)) << "grad_w";
  }
}

// A tap in the padding is a product with zero, not nothing: an infinite weight there makes a NaN, on every instruction set.
TEST_F(ConvKernels, PaddingIsMultiplied) {
  for (int64_t groups : {1, 32}) {
    const ConvShape s = shape(1, 4, 4, 32, 32, 3, 3, 1, 1, groups);
    const Floats x(s.x_numel(), 1.0f), g(s.y_numel(), 1.0f), w(s.w_numel(), std::numeric_limits<float>::infinity());
    for (Isa level : {Isa::plain, Isa::avx2, Isa::avx512}) {
      set_isa(level);
      const Results r = all_directions(s, x, w, g);
      for (const Floats* v : {&r.y, &r.gx}) {
        EXPECT_TRUE(std::isnan((*v)[0])) << name(isa());             // a corner
        EXPECT_TRUE(std::isinf((*v)[(4 + 1) * 32])) << name(isa());  // an inner pixel
      }
    }
  }
}

TEST_F(ConvKernels, MatmulSameBitsAndExact) {
  struct Extents {
    int64_t m, n, k;
  };
  for (Extents e : {Extents{1, 512, 1000}, {64, 40, 513}, {37, 130, 1025}, {300, 40, 70}, {130, 16, 64}, {5, 3, 7}, {2, 100, 0}, {0, 4, 4}})
    for (int transposed = 0; transposed < 4; ++transposed) {
      const bool ta = transposed & 1, tb = transposed & 2;
      SCOPED_TRACE(cat(e.m, "x", e.n, "x", e.k, ta ? " a^T" : "", tb ? " b^T" : ""));
      Philox rng(5);
      auto product = [&](const Floats& a, const Floats& b) {
        Floats c = guarded(e.m * e.n);
        matmul(e.m, e.n, e.k, a.data(), ta, b.data(), tb, c.data());
        return c;
      };
      auto real = [&] { return rng.normal(); };
      const Floats a = filled(e.m * e.k, real), b = filled(e.k * e.n, real);
      set_isa(Isa::plain), set_threads(4);
      const Floats want = product(a, b);
      for (Isa level : {Isa::avx2, Isa::avx512})
        for (int count : {1, 2, 4}) {
          set_isa(level), set_threads(count);
          EXPECT_TRUE(same_bits(product(a, b), want)) << name(isa()) << ", " << count << " threads";
        }
      auto integer = [&] { return static_cast<int>(rng.below(7)) - 3; };
      const Floats ia = filled(e.m * e.k, integer), ib = filled(e.k * e.n, integer);
      std::vector<int64_t> exact(e.m * e.n);
      for (int64_t k = 0; k < e.k; ++k)
        for (int64_t i = 0; i < e.m; ++i)
          for (int64_t j = 0; j < e.n; ++j)
            exact[i * e.n + j] +=
                static_cast<int64_t>(ta ? ia[k * e.m + i] : ia[i * e.k + k]) * static_cast<int64_t>(tb ? ib[j * e.k + k] : ib[k * e.n + j]);
      EXPECT_TRUE(equal(exact, product(ia, ib)));
    }
}

}  // namespace
}  // namespace vitrine::cpu
