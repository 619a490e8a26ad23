// Anti-aliased shapes on a square of floats: what face_renderer draws with. Private to data.
// Written so that loops over pixels vectorise: no branches, no calls, selects only.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

namespace vitrine::data::detail {

constexpr int kSide = 112;  // pixels of the canvas

struct Rgb {
  float r, g, b;
  Rgb operator*(float s) const { return {r * s, g * s, b * s}; }
};
struct Paint {
  Rgb colour;
  float alpha;
};

inline float clamp01(float v) { return v < 0 ? 0 : v > 1 ? 1 : v; }
inline float sq(float v) { return v * v; }
inline float abs_(float v) { return v < 0 ? -v : v; }
inline float mix(float a, float b, float t) { return a + t * (b - a); }
inline Rgb mix(Rgb a, Rgb b, float t) { return {mix(a.r, b.r, t), mix(a.g, b.g, t), mix(a.b, b.b, t)}; }
inline Rgb ramp(Rgb a, Rgb b, Rgb c, float t) { return t < 0.5f ? mix(a, b, 2 * t) : mix(b, c, 2 * t - 1); }

// 1 / sqrt(v) to 0.2 %: unlike std::sqrt, which may set errno, it vectorises.
inline float rsqrt(float v) {
  const float y = std::bit_cast<float>(0x5f3759dfu - (std::bit_cast<uint32_t>(v) >> 1));
  return y * (1.5f - 0.5f * v * y * y);
}
// Coverage of a pixel whose centre lies d pixels outside an edge.
inline float cover(float d) { return clamp01(0.5f - d); }
// Distance from an ellipse, first order: (f - 1) / |grad f|.
inline float ellipse(float u, float v, float a, float b) {
  const float p = u / a, q = v / b;
  return (p * p + q * q - 1) * 0.5f * rsqrt(sq(p / a) + sq(q / b) + 1e-6f);
}
inline float blob(float u, float v, float a, float b) {
  const float f = 1 - sq(u / a) - sq(v / b);
  return f < 0 ? 0 : f * f;
}
// Period 1, range -1 .. 1, parabolas for a sine.
inline float wave(float x) {
  x += 64;
  x = 2 * (x - float(int(x))) - 1;
  return 4 * x * (1 - abs_(x));
}

// image = (x, y) + u (ux, uy) + v (vx, vy)
struct Frame {
  float x, y, ux, uy, vx, vy;
  Frame moved(float u, float v) const { return {x + u * ux + v * vx, y + u * uy + v * vy, ux, uy, vx, vy}; }
  Frame turned(float slope) const { return {x, y, ux + slope * vx, uy + slope * vy, vx, vy}; }  // u axis descends by `slope`
};
struct Box {
  float u0, u1, v0, v1;
};
constexpr Box kEverywhere{-1e4f, 1e4f, -1e4f, 1e4f};

struct Canvas {
  float c[3][kSide * kSide] = {};

  // Lays fn(u, v) -> Paint over the pixels of a box of the frame.
  template <class Fn>
  void paint(const Frame& f, const Box& box, const Fn& fn) {
    const float u = (box.u0 + box.u1) / 2, v = (box.v0 + box.v1) / 2, hu = (box.u1 - box.u0) / 2 + 1, hv = (box.v1 - box.v0) / 2 + 1;
    const float cx = f.x + u * f.ux + v * f.vx, cy = f.y + u * f.uy + v * f.vy;
    const float hx = hu * abs_(f.ux) + hv * abs_(f.vx), hy = hu * abs_(f.uy) + hv * abs_(f.vy);
    const auto low = [](float p) { return int(std::clamp(p, 0.0f, float(kSide))); };
    const auto high = [](float p) { return int(std::clamp(p + 1, 0.0f, float(kSide))); };
    const int x0 = low(cx - hx), x1 = high(cx + hx), y0 = low(cy - hy), y1 = high(cy + hy);
    const float d = 1 / (f.ux * f.vy - f.uy * f.vx), iux = f.vy * d, iuy = -f.vx * d, ivx = -f.uy * d, ivy = f.ux * d;
    for (int y = y0; y < y1; ++y) {
      float* __restrict r = c[0] + y * kSide, * __restrict g = c[1] + y * kSide, * __restrict b = c[2] + y * kSide;
      const float dy = float(y) - f.y;
      for (int x = x0; x < x1; ++x) {
        const float dx = float(x) - f.x;
        const Paint p = fn(dx * iux + dy * iuy, dx * ivx + dy * ivy);
        r[x] += p.alpha * (p.colour.r - r[x]);
        g[x] += p.alpha * (p.colour.g - g[x]);
        b[x] += p.alpha * (p.colour.b - b[x]);
      }
    }
  }
  void disc(const Frame& f, float a, float b, Rgb colour, float alpha = 1) {
    paint(f, {-a, a, -b, b}, [=](float u, float v) { return Paint{colour, alpha * cover(ellipse(u, v, a, b))}; });
  }
  void glow(const Frame& f, float a, float b, Rgb colour, float alpha) {
    paint(f, {-a, a, -b, b}, [=](float u, float v) { return Paint{colour, alpha * blob(u, v, a, b)}; });
  }
  // Along v = bend * (u / half)^2, thinning out to the ends; thickness is half the stroke's width.
  void stroke(const Frame& f, float half, float bend, float thickness, Rgb colour, float alpha) {
    const float reach = abs_(bend) + thickness;
    paint(f, {-half, half, -reach, reach}, [=](float u, float v) {
      const float s = u / half, slope = 2 * bend * s / half;
      const float d = abs_(v - bend * s * s) * rsqrt(1 + slope * slope) - thickness * (1 - s * s * s * s);
      return Paint{colour, alpha * cover(d) * clamp01(6 * (1 - s * s))};
    });
  }
  void ring(const Frame& f, float a, float b, float thickness, Rgb colour) {
    const float r = thickness + 1;
    paint(f, {-a - r, a + r, -b - r, b + r}, [=](float u, float v) {
      const float p = sq(u / a), q = sq(v / b);  // a squarish ellipse
      const float d = (p * p + q * q - 1) * 0.25f * rsqrt(sq(p * u) / sq(a * a) + sq(q * v) / sq(b * b) + 1e-4f);
      return Paint{colour, cover(abs_(d) - thickness)};
    });
  }
};

}  // namespace vitrine::data::detail
