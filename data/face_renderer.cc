#include "data/face_renderer.h"

#include <algorithm>
#include <cmath>

#include "data/align.h"
#include "data/face_canvas.h"
#include "engine/core/rng.h"

namespace vitrine::data {
namespace {

using namespace detail;

// Face coordinates: template pixels, x to the image's right, y down, z towards the camera; the origin lies behind the nose's tip.
class Portrait {
 public:
  Portrait(const FaceTraits& traits, const FaceShot& shot);
  Image draw();

 private:
  float t(Trait k, float mean, float deviation) const { return mean + deviation * t_[k]; }
  std::array<float, 2> project(float x, float y, float z) const {
    const float X = x * cy_ + z * sy_, Z = z * cy_ - x * sy_;
    return {X, y * cp_ + Z * sp_};
  }
  static float depth(float x, float y) { return 26 - 0.011f * x * x - 0.004f * y * y; }
  Frame place(float x, float y, float z, float zx, float zy) const;
  // On the surface; side = -1 mirrors u, so that it always points outwards.
  Frame on(float x, float y, float raise = 0, float side = 1) const {
    Frame f = place(side * x, y, depth(x, y) + raise, -0.022f * side * x, -0.008f * y);
    f.ux *= side, f.uy *= side;
    return f;
  }
  Rgb shade(float s) const {
    return {skin_.r * s, skin_.g * s * (s < 1 ? 0.94f + 0.06f * s : 1), skin_.b * s * (s < 1 ? 0.9f + 0.1f * s : 1)};
  }

  float random(float low, float high) { return low + (high - low) * float(rng_.uniform()); }
  Rgb any_colour() { return {random(0.08f, 0.92f), random(0.08f, 0.92f), random(0.08f, 0.92f)}; }  // braces: drawn in this order

  void choose_colours();
  void align_landmarks();
  void background();
  void body();
  void ear(float side, float alpha);
  void face();
  void wrinkles();
  void marks();
  void eye(float side);
  void brow(float side);
  void nose();
  void mouth();
  void hair(bool front);
  void glasses(bool dark);
  void occluder();
  void light();
  void blur();
  Image expose();

  const FaceTraits& t_;
  const FaceShot& shot_;
  Philox rng_;
  Canvas canvas_;
  float old_, young_, male_;  // 0 .. 1
  float cy_, sy_, cp_, sp_;   // cosine and sine of yaw and pitch
  float eye_x_, eye_y_, nose_y_, mouth_y_, mouth_w_, width_, chin_;
  Rgb skin_, hair_, brow_, lip_, cloth_;
  Frame crop_, head_;  // projected face to image; the head is not foreshortened, being as deep as wide
};

Portrait::Portrait(const FaceTraits& traits, const FaceShot& shot) : t_(traits), shot_(shot), rng_(shot.detail) {
  old_ = clamp01((shot.age - 28) / 47);
  young_ = clamp01((26 - shot.age) / 12);
  male_ = clamp01(0.5f + 2 * t_[kMale]);
  cy_ = float(std::cos(double(shot.yaw))), sy_ = float(std::sin(double(shot.yaw)));
  cp_ = float(std::cos(double(shot.pitch))), sp_ = float(std::sin(double(shot.pitch)));
  eye_x_ = t(kEyeSpacing, 17.6f, 1.1f);
  eye_y_ = t(kEyeHeight, -20, 1);
  nose_y_ = t(kNoseLength, 0, 1.7f) + old_;
  mouth_y_ = t(kMouthHeight, 20.5f, 1.3f) + 0.5f * t_[kNoseLength];
  mouth_w_ = t(kMouthWidth, 13.2f, 1.4f) + 1.8f * shot.smile;
  width_ = t(kFaceWidth, 36, 2.2f) + 0.7f * male_;
  chin_ = t(kChin, 40, 2.3f) + 1.5f * male_ - 2 * young_ + 1.5f * old_ + 3 * shot.open;
  choose_colours();
  align_landmarks();
}

void Portrait::choose_colours() {
  const float tone = clamp01(t(kSkin, 0.35f, 0.27f)), warm = t_[kSkinWarmth];
  skin_ = ramp({0.97f, 0.83f, 0.74f}, {0.83f, 0.61f, 0.46f}, {0.40f, 0.26f, 0.19f}, tone);
  skin_ = {skin_.r * (1 + 0.02f * warm), skin_.g * (1 - 0.015f * warm), skin_.b * (1 - 0.05f * warm)};
  const float light = clamp01(t(kHairLight, 0.45f, 0.3f)) * (1 - 0.8f * tone);
  hair_ = ramp({0.07f, 0.055f, 0.05f}, {0.36f, 0.22f, 0.13f}, {0.86f, 0.70f, 0.42f}, light);
  hair_ = mix(hair_, {0.58f, 0.22f, 0.09f}, clamp01(0.7f * t_[kHairRed] - 0.5f) * (1 - tone));
  brow_ = mix(mix(hair_, {0.1f, 0.07f, 0.05f}, 0.35f), {0.62f, 0.61f, 0.6f}, 0.6f * old_ * old_);
  hair_ = mix(hair_, {0.78f, 0.78f, 0.79f}, clamp01(1.25f * old_ * old_));
  lip_ = mix(mix(skin_, {0.72f, 0.25f, 0.27f}, clamp01(t(kLipColour, 0.42f, 0.17f) - 0.12f * male_)), shade(0.85f), 0.35f * old_);
  cloth_ = any_colour();
}

void Portrait::align_landmarks() {
  const float mz = depth(mouth_w_, mouth_y_), ez = depth(eye_x_, eye_y_), my = mouth_y_ - shot_.smile;
  const std::array<float, 2> points[5] = {project(-eye_x_, eye_y_, ez), project(eye_x_, eye_y_, ez), project(0, nose_y_, 35),
                                          project(-mouth_w_, my, mz), project(mouth_w_, my, mz)};
  FacePoints found;
  for (int i = 0; i < 5; ++i)
    for (int k = 0; k < 2; ++k) found[i][k] = points[i][k] + shot_.misalign * rng_.normal();
  const Affine map = similarity(found);
  crop_ = {float(map[0][2]), float(map[1][2]), float(map[0][0]), float(map[1][0]), float(map[0][1]), float(map[1][1])};
  head_ = crop_.moved(0, 4 * sp_);  // the outline follows a nod only a little
}

Frame Portrait::place(float x, float y, float z, float zx, float zy) const {
  const auto [px, py] = project(x, y, z);
  const float ux = std::max(cy_ + zx * sy_, 0.2f), uy = (zx * cy_ - sy_) * sp_, vy = std::max(cp_ + zy * sp_, 0.3f), vx = zy * sy_;
  const Frame &f = crop_, at = f.moved(px, py);
  return {at.x, at.y, ux * f.ux + uy * f.vx, ux * f.uy + uy * f.vy, vx * f.ux + vy * f.vx, vx * f.uy + vy * f.vy};
}

// A gradient with some soft patches: something to be invariant to.
void Portrait::background() {
  const Rgb a = any_colour(), b = any_colour();
  const float dx = random(-1, 1) / kSide, dy = random(-1, 1) / kSide;
  const Frame image{kSide / 2, kSide / 2, 1, 0, 0, 1};
  canvas_.paint(image, kEverywhere, [=](float u, float v) { return Paint{mix(a, b, clamp01(0.5f + u * dx + v * dy)), 1}; });
  for (int i = 0; i < 3; ++i) {
    const float x = random(-56, 56), y = random(-56, 56), width = random(15, 50), height = random(15, 50), alpha = random(0.2f, 0.9f);
    canvas_.glow(image.moved(x, y), width, height, any_colour(), alpha);
  }
}

void Portrait::body() {
  const float neck = width_ * mix(0.58f, 0.74f, male_), chin = chin_;
  const Rgb dark = shade(0.6f), skin = shade(0.8f);
  canvas_.paint(head_.moved(-6 * sy_, 0), {-neck - 8, neck + 8, 10, 80}, [=](float u, float v) {
    const float edge = neck + sq(clamp01((v - 30) / 40)) * 25;
    return Paint{mix(dark, skin, clamp01((v - chin + 4) / 14)), cover(abs_(u) - edge)};
  });
  canvas_.disc(head_.moved(-9 * sy_, chin + 38), 62, 24, cloth_);
}

void Portrait::ear(float side, float alpha) {
  const float size = t(kEars, 1, 0.12f) + 0.1f * old_;
  Frame f = place(side * (width_ - 0.5f), -10, -4, 0, 0);
  f = {f.x, f.y, head_.ux, head_.uy, head_.vx, head_.vy};
  canvas_.disc(f, 5.2f * size, 10.5f * size, shade(0.88f), alpha);
  canvas_.glow(f.moved(side * 0.5f, -1), 3.6f * size, 8 * size, shade(0.6f), 0.7f * alpha);
}

// Outline: a half ellipse above the cheeks; below, a quartic whose coefficients are jaw and taper.
void Portrait::face() {
  const float level = -12, w = width_, down = 1 / (chin_ - level), up = 1.0f / 50,
              q = std::clamp(t(kJaw, 0.25f, 0.28f) + 0.2f * male_, -0.5f, 0.95f);
  const float taper = std::max(0.0f, t(kJawTaper, 0.3f, 0.15f) - 0.2f * old_ - 0.1f * young_), lean = 13 * sy_;
  const float beard = clamp01(0.55f * (t_[kBeard] + 0.3f * shot_.beard)) * clamp01(2 * male_ - 1) * (1 - young_);
  const float beard_y = 12 - 4 * clamp01(t_[kMoustache]);
  const Rgb skin = skin_, rim = shade(0.66f), hair = mix(hair_, skin_, 0.12f);
  const float alpha = 0.35f * clamp01(3 * beard) + 0.55f * beard;
  canvas_.paint(head_, {-w - 14, w + 14, -68, chin_ + 1}, [=](float x, float y) {
    const float below = (y - level) * (y > level ? down : up), s = y > level ? below : 0;
    const float a = (x - lean * s * s) / w, t2 = below * below, s2 = s * s;
    const float f = a * a * (1 + taper * s2) + (y > level ? (1 - q) * t2 + q * t2 * t2 : 0.5f * (t2 + t2 * t2));
    const float gx = a * (1 + taper * s2) / w, gy = below * ((1 - q) + 2 * q * s2 + taper * a * a) * (y > level ? down : up);
    const float d = (f - 1) * 0.5f * rsqrt(gx * gx + gy * gy + 1e-6f);
    const float edge = clamp01(f);
    Rgb c = mix(skin, rim, 0.75f * edge * edge * edge);
    const float grown = clamp01((y - beard_y + 0.022f * sq(x - lean * s2)) / 5) * (0.85f + 0.15f * wave(0.37f * x + 0.21f * y));
    c = mix(c, hair, alpha * grown);
    return Paint{c, cover(d)};
  });
  for (const float side : {-1.0f, 1.0f}) {
    const Rgb blush = mix(skin_, {0.9f, 0.35f, 0.3f}, 0.45f);
    canvas_.glow(on(19, 4, 0, side), 13, 10, blush, 0.45f - 0.2f * male_);
    canvas_.glow(on(17, -2 - t_[kCheeks], 0, side), 9, 6, shade(1.1f), 0.35f);  // cheek bone
    canvas_.glow(on(25, 8, 0, side).turned(-0.5f), 9, 13, shade(0.7f),
                 clamp01(0.25f + 0.2f * t_[kCheeks] + 0.25f * old_));                                         // hollow below it
    canvas_.glow(on(eye_x_, eye_y_ - 1, 0, side), 13, 9, shade(0.62f), clamp01(t(kEyeDepth, 0.42f, 0.18f)));  // socket
  }
  canvas_.glow(on(0, -38), 22, 12, shade(1.1f), 0.4f);
  canvas_.glow(on(0, chin_ - 9), 8, 6, shade(1.08f), 0.5f * (1 - beard));
  canvas_.glow(on(0, mouth_y_ + 9), 10, 3.5f, shade(0.68f), 0.5f * (1 - beard));  // below the lower lip
}

void Portrait::wrinkles() {
  const Rgb line = shade(0.6f);
  const float deep = clamp01(old_ * 1.2f), fold = clamp01(0.05f + 0.6f * old_ + 0.35f * std::max(0.0f, shot_.smile));
  for (int i = 0; i < 3; ++i)
    canvas_.stroke(on(0, -34.0f - 5 * i), 16 - 2 * i, -1.5f, 0.45f, line, std::max(0.75f * deep - 0.12f * i, 0.4f * shot_.brow));
  for (const float side : {-1.0f, 1.0f}) {
    const Frame f = on(14.5f + 1.5f * std::max(0.0f, shot_.smile), 12, 0, side);  // from the nose's wing to the mouth's corner
    const Frame down{f.x, f.y, f.vx + 0.35f * f.ux, f.vy + 0.35f * f.uy, f.ux, f.uy};
    canvas_.stroke(down, 10 + 3 * old_, -1.8f, 0.6f, line, 0.75f * fold);
    canvas_.glow(on(eye_x_ - 1, eye_y_ + 8, 0, side), 8, 4, shade(0.65f), 0.55f * deep);  // bag
    canvas_.stroke(on(eye_x_ - 1, eye_y_ + 7.5f, 0, side), 7, 1.8f, 0.4f, line, 0.7f * deep);
    for (int i = -1; i <= 1; ++i)
      canvas_.stroke(on(eye_x_ + 12, eye_y_ + 2.5f * i, 0, side).turned(0.4f * i), 4, 0, 0.4f, line, 0.7f * deep);
    canvas_.glow(on(19, 28, 0, side), 8, 7, shade(0.72f), 0.6f * deep);  // jowl
  }
}

void Portrait::marks() {
  const float size = 0.7f * t_[kMoleSize];
  if (size > 0.25f) canvas_.disc(on(t(kMoleX, 0, 13), t(kMoleY, 4, 12)), 0.7f + size, 0.7f + size, shade(0.35f), 0.85f);
  const float freckles = clamp01(t_[kFreckles] - 0.3f);
  for (int i = 0; i < 22 && freckles > 0; ++i)  // a scatter of the identity's own, dense over nose and cheeks
    canvas_.disc(on(22 * wave(0.618f * i + t_[kFreckles]), 2 + 8 * wave(0.414f * i + t_[kMoleY])), 0.9f, 0.8f, shade(0.62f),
                 0.8f * freckles);
}

void Portrait::eye(float side) {
  const float a = t(kEyeWidth, 8.3f, 0.7f), lid = (1 - 0.85f * shot_.blink) * (1 - 0.18f * old_) * (1 - 0.2f * std::max(0.0f, shot_.smile));
  const float up = std::max(0.8f, t(kEyeOpen, 4.5f, 0.7f)) * lid + 0.6f * shot_.brow, low = 2.7f * (0.4f + 0.6f * lid), r = 4.3f;
  const float gaze = 2.2f * shot_.gaze * side;
  const Frame f = on(eye_x_, eye_y_, 0, side).turned(-t(kEyeSlant, 0.05f, 0.09f) + 0.06f * old_);
  const float iris_light = clamp01(t(kIrisLight, 0.35f, 0.35f)) * (1 - 0.75f * clamp01(t(kSkin, 0.35f, 0.27f)));
  const Rgb hue = ramp({0.42f, 0.62f, 0.82f}, {0.45f, 0.6f, 0.42f}, {0.6f, 0.62f, 0.66f}, clamp01(t(kIrisHue, 0.5f, 0.35f)));
  const Rgb iris = mix({0.25f, 0.14f, 0.07f}, hue, iris_light), white = mix({0.95f, 0.94f, 0.93f}, {0.88f, 0.82f, 0.74f}, old_);
  canvas_.paint(f, {-a, a, -up, low}, [=](float u, float v) {
    const float q = 1 - sq(u / a), d = std::max(-up * q - v, v - low * q), p = u - gaze, rr = p * p + sq(v + 0.6f);
    Rgb c = white * (0.72f + 0.28f * clamp01((v + up * q) / 3));
    const float in = cover((rr - r * r) / (2 * r)), glint = cover((sq(p - 1.4f * side) + sq(v + 2) - 1) * 0.5f);
    c = mix(c, iris * (1.15f - 0.6f * sq(rr / (r * r)) + 0.08f * v), in);
    c = mix(c, {0.03f, 0.03f, 0.03f}, cover((rr - 3.6f) / 3.8f));
    c = mix(c, {1, 1, 1}, 0.9f * glint);
    return Paint{c, cover(d)};
  });
  const Rgb dark = mix(shade(0.3f), {0.05f, 0.04f, 0.04f}, 0.6f);
  canvas_.stroke(f.moved(0.4f, -up), a + 1.2f, up + 0.4f, mix(1.1f, 0.75f, male_), dark, 0.95f);  // upper lid and lashes
  canvas_.stroke(f.moved(0, low), a, -low, 0.4f, shade(0.5f), 0.6f);                              // lower lid
  canvas_.stroke(f.moved(0, -up - t(kEyeCrease, 2.4f, 0.7f)), a, 0.8f * up, 0.5f, shade(0.5f), clamp01(t(kEyeCrease, 0.6f, 0.3f)));
}

void Portrait::brow(float side) {
  const float half = t(kBrowLength, 9.6f, 0.9f), lift = 2.6f * shot_.brow - 0.8f * old_, arch = std::max(0.3f, t(kBrowArch, 2.4f, 1));
  const float y = eye_y_ - t(kBrowHeight, 11, 1.1f) - lift,
              thickness = std::max(0.6f, t(kBrowThick, 1.15f, 0.4f) + 0.55f * male_ - 0.3f * old_);
  const Frame f = on(eye_x_ + 0.5f, y, 2, side).turned(-t(kBrowSlant, 0.08f, 0.12f));
  canvas_.stroke(f, half, arch, thickness + 0.8f, brow_, 0.3f);
  canvas_.stroke(f, half, arch, thickness, brow_, 0.85f);
}

void Portrait::nose() {
  const float w = t(kNoseWidth, 7, 0.95f) + 0.5f * male_ + 0.6f * old_, bridge = t(kNoseBridge, 3.6f, 0.6f), top = eye_y_ + 2;
  const float raise = 8, lit = 0.3f * shot_.light_x * shot_.light;
  const auto [ax, ay] = project(0, top, 27);
  const auto [bx, by] = project(0, nose_y_, 27 + raise);
  const float length = nose_y_ - top;
  const Frame tip = on(0, nose_y_, raise), head = head_;
  const float vx = (bx - ax) / length, vy = (by - ay) / length;  // the ridge's own frame: v runs down it
  const Frame ridge{tip.x, tip.y, tip.ux, tip.uy, head.ux * vx + head.vx * vy, head.uy * vx + head.vy * vy};
  for (const float side : {-1.0f, 1.0f}) {
    const float dark = clamp01(0.42f + 0.6f * side * (lit + 0.45f * sy_));
    canvas_.glow(ridge.moved(side * (bridge + 1.6f), -length * 0.5f), 3.2f, length * 0.62f, shade(0.6f), dark);
    canvas_.glow(ridge.moved(side * (w - 0.5f), 1), 4, 4.5f, shade(0.58f), 0.75f);
  }
  canvas_.glow(ridge.moved(0, -length * 0.45f), 2.6f, length * 0.6f, shade(1.2f), 0.6f);
  canvas_.glow(ridge.moved(0, 5.2f), w + 3, 4, shade(0.5f), 0.6f);  // shadow on the upper lip
  const float ball = t(kNoseTip, 4.6f, 0.6f);
  canvas_.glow(ridge.moved(0, 0), ball + 2.5f, ball + 1.5f, shade(1.02f), 0.9f);
  for (const float side : {-1.0f, 1.0f}) {
    canvas_.glow(ridge.moved(side * (w - 2.6f), 1.3f), 3.6f, 3.4f, shade(0.97f), 0.9f);  // wing
    canvas_.glow(ridge.moved(side * w * 0.46f, 4), 2.7f, 1.7f, shade(0.22f), 1);
    const Frame wing = ridge.moved(side * (w + 0.2f), 1.4f);
    canvas_.stroke({wing.x, wing.y, wing.vx, wing.vy, wing.ux * side, wing.uy * side}, 3.6f, -1.6f, 0.45f, shade(0.5f), 0.7f);
  }
  canvas_.glow(ridge.moved(0.8f, -1), 2, 2, shade(1.35f), 0.7f);
}

void Portrait::mouth() {
  const float w = mouth_w_, open = 7 * shot_.open + 1.5f * std::max(0.0f, shot_.smile), thin = 1 - 0.35f * old_;
  const float up = std::max(1.2f, t(kUpperLip, 3.1f, 0.75f) - 0.5f * male_) * thin,
              low = std::max(1.6f, t(kLowerLip, 4.1f, 0.85f) - 0.4f * male_) * thin;
  const float curve = -1.2f - 2.6f * shot_.smile + 0.5f * t_[kMouthCurve] + 0.6f * old_;
  const Frame f = on(0, mouth_y_, 4);
  const float shadow = clamp01(2 * male_ - 1) * clamp01(0.5f * t_[kMoustache] + 0.15f * shot_.beard) * (1 - young_);
  if (shadow > 0)
    canvas_.stroke(f.moved(0, -up - 3.2f), 0.85f * w, 1.6f, 1.4f + 1.2f * shadow, mix(hair_, skin_, 0.1f),
                   0.4f * clamp01(4 * shadow) + 0.5f * shadow);
  const Rgb lip = lip_, inside{0.25f, 0.08f, 0.08f}, teeth{0.94f, 0.92f, 0.88f};
  canvas_.paint(f, {-w, w, -up - 4 - abs_(curve), low + open + 4 + abs_(curve)}, [=](float u, float y) {
    const float s = u / w, q = 1 - s * s, v = y - curve * (s * s - 0.35f), notch = clamp01(1 - abs_(s) * 4);
    const float top = -0.25f * open * q, bottom = 0.75f * open * q, upper = top - up * q * (1 + 0.25f * s * s - 0.25f * notch),
                lower = bottom + low * q * (1 - 0.3f * s * s);
    Rgb c = v < top ? lip * (0.78f + 0.1f * (top - v) / up) : lip * (1.08f - 0.16f * sq((v - bottom) / low - 0.4f));
    c = mix(c, {1, 0.9f, 0.88f}, 0.35f * blob(u, v - bottom - 0.4f * low, 0.4f * w, 0.3f * low));
    const float gap = cover(std::max(top - v, v - bottom) - 0.1f), tooth = clamp01((top + 0.62f * open * q - v) + 0.5f);
    c = mix(c, mix(inside, teeth, tooth * clamp01(open - 0.5f)), gap);
    c = mix(c, lip * 0.35f, 0.9f * cover(abs_(v - 0.5f * (top + bottom)) - 0.35f) * clamp01(1 - open));
    return Paint{c, cover(std::max(upper - v, v - lower))};
  });
  for (const float side : {-1.0f, 1.0f}) canvas_.glow(f.moved(side * w, curve * 0.65f), 3, 2.5f, shade(0.5f), 0.6f);
}

// Inside an outer shape, outside the face's window. The back, drawn first, has no window.
void Portrait::hair(bool front) {
  const float length = t_[kHairLength] - 1.1f * t_[kMale] + 0.25f * shot_.hair, flow = clamp01(0.6f * length + 0.35f);  // 0 short .. 1 long
  if (!front && flow <= 0) return;
  const float bald = male_ * clamp01(0.5f * (t_[kBaldness] + 2.6f * old_ - 1.3f)),
              volume = std::max(1.0f, t(kHairVolume, 5.5f, 1.8f) + shot_.hair) * (1 - 0.8f * bald);
  const float w = width_ + volume, top = 50 + volume, end = mix(-16 + 2 * t_[kHairVolume], 60, flow),
              curl = std::max(0.0f, t(kHairCurl, 0.3f, 0.6f));
  const float line = t(kForehead, 29, 2.6f) - 5 * std::max(0.0f, t_[kFringe] * (1 - 0.5f * male_)) * (1 - bald) +
                     17 * bald;  // of the hairline, above the eyes
  const float tilt = 0.16f * t_[kHairPart] * (1 - bald), square = clamp01(0.35f + 0.35f * t_[kFringe]),
              narrow = width_ * mix(0.99f, 0.9f, flow) * (0.8f + 0.2f * cy_);
  const float shift = 20 * sy_, centre = -6, height = -eye_y_ + line + centre;
  const float tint = front ? 1 : 0.6f, back = front ? 0 : 1;
  const Rgb dark = hair_ * 0.55f, light = mix(hair_ * 1.25f, {1, 0.95f, 0.85f}, 0.1f);
  canvas_.paint(head_.moved(-5 * sy_, 0), {-w - 16, w + 16, -top - 20, end + 6}, [=](float x, float y) {
    const float ripple = curl * (wave(0.085f * y + 0.03f * x) + 0.7f * wave(0.11f * x + 0.3f));
    const float fall = clamp01((y + 12) / 60), wide = w + ripple + 7 * flow * fall;
    const float up = std::min(y + 12, 0.0f) / (top + ripple), p = x / wide;
    const float outer = (p * p + 0.5f * (up * up + sq(up * up)) - 1) * 0.5f * rsqrt(sq(p / wide) + sq(up / top) + 1e-6f);
    const float wx = (x - shift) / narrow, wy = (y - centre + tilt * (x - shift) + 0.6f * ripple) / height, a2 = wx * wx,
                b2 = sq(std::min(wy, 0.0f));
    const float f = a2 + mix(b2, b2 * b2, square), window = (1 - f) * 0.5f * rsqrt(sq(wx / narrow) + sq(wy / height) * b2 + 1e-5f);
    const float strand = wave(0.16f * x + 0.05f * ripple + 0.03f * y) * 0.5f + 0.35f * wave(0.41f * x - 0.02f * y);
    const float sheen = blob(x - 6, y + 48 + 0.01f * x * x, 34, 15);
    const Rgb c = mix(dark, light, clamp01(0.45f + 0.14f * strand + 0.5f * sheen - 0.25f * fall - 0.25f * clamp01(1 + window / 5)));
    const float alpha = std::min(cover(outer), clamp01((end + 2 * ripple - y) / 5));
    return Paint{c * tint, std::min(alpha, std::max(back, clamp01(0.5f - window / 1.6f)))};
  });
}

void Portrait::glasses(bool dark) {
  const float a = dark ? 13 : t(kGlassesShape, 11.8f, 1), b = dark ? 9.5f : 8.2f - 0.7f * t_[kGlassesShape];
  const Rgb frame = dark ? Rgb{0.06f, 0.06f, 0.07f} : t_[kGlassesShape] > 0 ? Rgb{0.13f, 0.1f, 0.1f} : Rgb{0.45f, 0.33f, 0.25f};
  const float thickness = dark ? 0.9f : std::max(0.5f, 0.8f + 0.3f * t_[kGlasses]);
  for (const float side : {-1.0f, 1.0f}) {
    const Frame f = on(eye_x_ + 0.3f, eye_y_ + 1, 5, side);
    if (dark)
      canvas_.disc(f, a, b, {0.08f, 0.08f, 0.1f}, 0.96f);
    else
      canvas_.glow(f.moved(-3, -3), 6, 4, {1, 1, 1}, 0.25f);
    canvas_.ring(f, a, b, thickness, frame);
    canvas_.stroke(on(width_ - 4, eye_y_ - 1, 2, side), width_ - 3 - eye_x_ - a, 0, thickness, frame, 0.9f);
  }
  canvas_.stroke(on(0, eye_y_ - 1, 8), eye_x_ - a + 3.5f, 1, thickness, frame, 1);
}

void Portrait::occluder() {
  const Rgb colour = any_colour();
  if (shot_.occlusion == Occlusion::kSunglasses) glasses(true);
  if (shot_.occlusion == Occlusion::kScarf) {
    const float y0 = random(8, 24), stripes = random(0.04f, 0.12f);
    canvas_.paint(head_.moved(6 * sy_, y0), {-80, 80, -10, 80}, [=](float u, float v) {
      return Paint{colour * (0.75f + 0.15f * wave(stripes * (v + 0.004f * u * u)) + 0.1f * (1 - sq(u / 60))),
                   cover(-v - 0.004f * u * u + 4)};
    });
  }
  if (shot_.occlusion == Occlusion::kBox) {
    const float slope = random(-0.4f, 0.4f), a = random(8, 20), b = random(8, 22), x = random(-40, 40), y = random(-35, 35);
    canvas_.paint(head_.moved(x, y).turned(slope), {-a, a, -b, b}, [=](float u, float v) {
      return Paint{colour * (1 - 0.004f * (u + v)), cover(std::max(abs_(u) - a, abs_(v) - b))};
    });
  }
}

// One directed light over a round head, the rest from everywhere; what lies around the head is lit alike.
void Portrait::light() {
  const float share = shot_.light, lx = shot_.light_x, ly = shot_.light_y, e = shot_.exposure;
  const std::array<float, 3> gain{e * shot_.cast[0], e * shot_.cast[1], e * shot_.cast[2]};
  const float ox = head_.x, oy = head_.y - 10;
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      const float nx = std::clamp((float(x) - ox) / 48, -1.0f, 1.0f), ny = std::clamp((float(y) - oy) / 60, -1.0f, 1.0f);
      const float lit = std::max(0.0f, 1.25f * (lx * nx + ly * ny) + 0.9f * (1 - 0.4f * (nx * nx + ny * ny)));
      const float g = 1 - share + share * lit;
      for (int k = 0; k < 3; ++k) canvas_.c[k][y * kSide + x] *= gain[k] * g;
    }
}

void Portrait::blur() {
  static thread_local float copy[kSide * kSide];
  for (float left = shot_.blur; left > 0; left -= 1) {
    const float side = 0.25f * std::min(1.0f, left), middle = 1 - 2 * side;
    for (float* c : canvas_.c) {
      for (int y = 0; y < kSide; ++y) {
        const float *m = c + y * kSide, *u = y > 0 ? m - kSide : m, *d = y + 1 < kSide ? m + kSide : m;
        for (int x = 0; x < kSide; ++x) copy[y * kSide + x] = middle * m[x] + side * (u[x] + d[x]);
      }
      for (int y = 0; y < kSide; ++y) {
        const float* m = copy + y * kSide;
        float* o = c + y * kSide;
        for (int x = 1; x + 1 < kSide; ++x) o[x] = middle * m[x] + side * (m[x - 1] + m[x + 1]);
        o[0] = (middle + side) * m[0] + side * m[1];
        o[kSide - 1] = (middle + side) * m[kSide - 1] + side * m[kSide - 2];
      }
    }
  }
}

// Noise: sums of two 10-bit uniforms from SplitMix64 (Steele et al., 2014), a triangle with deviation 1024 / sqrt 6.
Image Portrait::expose() {
  Image image(kSide, kSide);
  uint64_t state = rng_.next64();
  const float scale = shot_.noise / 418.0f;
  for (int i = 0; i < kSide * kSide; ++i) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    for (int k = 0; k < 3; ++k, z >>= 20) {
      const float noise = float(int(z & 1023) + int(z >> 10 & 1023) - 1023);
      image.pixels[3 * i + k] = uint8_t(std::clamp(255 * canvas_.c[k][i] + scale * noise + 0.5f, 0.0f, 255.0f));
    }
  }
  return image;
}

Image Portrait::draw() {
  background();
  hair(false);
  body();
  for (const float side : {-1.0f, 1.0f}) ear(side, 1);
  face();
  ear(sy_ > 0 ? -1 : 1, clamp01(5 * abs_(sy_) - 0.8f));  // the ear on the side that shows lies over the head
  wrinkles();
  nose();
  mouth();
  for (const float side : {-1.0f, 1.0f}) eye(side), brow(side);
  marks();
  hair(true);
  if (shot_.glasses && shot_.occlusion != Occlusion::kSunglasses) glasses(false);
  occluder();
  light();
  blur();
  return expose();
}

}  // namespace

Image render_face(const FaceTraits& traits, const FaceShot& shot) { return Portrait(traits, shot).draw(); }

}  // namespace vitrine::data
