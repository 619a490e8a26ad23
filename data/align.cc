#include "data/align.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "data/lines.h"
#include "engine/core/error.h"

namespace vitrine::data {
namespace {

constexpr FacePoints kTemplate112 = {{{38.2946, 51.6963}, {73.5318, 51.5014}, {56.0252, 71.7366}, {41.5493, 92.3655}, {70.7299, 92.2041}}};

std::array<double, 2> mean(const FacePoints& points) {
  std::array<double, 2> sum{};
  for (const auto& [x, y] : points) sum[0] += x, sum[1] += y;
  return {sum[0] / points.size(), sum[1] / points.size()};
}

Affine invert(const Affine& m) {
  const double determinant = m[0][0] * m[1][1] - m[0][1] * m[1][0];
  const double d = 1 / determinant;
  CHECK(std::isnormal(determinant) && std::isfinite(d) && std::isfinite(m[0][2]) && std::isfinite(m[1][2]), "affine map with determinant ",
        determinant, " and shift (", m[0][2], ",", m[1][2], "): an invertible one expected");
  // Operation order is OpenCV's: the last bit of these doubles decides roundings below.
  const double a = m[1][1] * d, b = m[0][1] * -d, c = m[1][0] * -d, e = m[0][0] * d;
  return {{{a, b, -a * m[0][2] - b * m[1][2]}, {c, e, -c * m[0][2] - e * m[1][2]}}};
}

// Source coordinates carry 10 fractional bits until the sum of the row's and the column's part is cut to 5.
constexpr double kOne = 1024;
constexpr int kHalfStep = 16;

// Rounds half to even. Far outside any image all values are alike, so the clamp only keeps the conversion defined.
int64_t to_fixed(double v) { return int64_t(std::nearbyint(std::clamp(v, -0x1p40, 0x1p40))); }

// One output pixel at (x + fx/32, y + fy/32). OpenCV sums weights of 2^15 and rounds; they are multiples of 32, so 2^10 is the same.
void interpolate(const Image& source, int64_t x, int64_t y, int fx, int fy, uint8_t* out) {
  const int weights[2][2] = {{(32 - fx) * (32 - fy), fx * (32 - fy)}, {(32 - fx) * fy, fx * fy}};
  int sum[3] = {512, 512, 512};
  if (x >= 0 && y >= 0 && x + 1 < source.width && y + 1 < source.height) {
    const uint8_t* top = source.row(int(y)) + 3 * x;
    const uint8_t* bottom = top + 3 * source.width;
    for (int c = 0; c < 3; ++c)
      sum[c] += weights[0][0] * top[c] + weights[0][1] * top[c + 3] + weights[1][0] * bottom[c] + weights[1][1] * bottom[c + 3];
  } else {  // each tap outside counts as black on its own
    for (int j = 0; j < 2; ++j)
      for (int i = 0; i < 2; ++i) {
        if (x + i < 0 || y + j < 0 || x + i >= source.width || y + j >= source.height) continue;
        const uint8_t* tap = source.row(int(y + j)) + 3 * (x + i);
        for (int c = 0; c < 3; ++c) sum[c] += weights[j][i] * tap[c];
      }
  }
  for (int c = 0; c < 3; ++c) out[c] = uint8_t(sum[c] >> 10);
}

}  // namespace

FacePoints face_template(int size) {
  CHECK(size > 0 && (size % 112 == 0 || size % 128 == 0), "aligned crop of ", size, " pixels: a multiple of 112 or 128 expected");
  const bool narrow = size % 112 == 0;
  const double scale = size / (narrow ? 112.0 : 128.0), shift = narrow ? 0 : 8 * scale;
  FacePoints points = kTemplate112;
  for (auto& [x, y] : points) x = x * scale + shift, y *= scale;
  return points;
}

// In the plane, as complex numbers: the least-squares z of z p = q over centred p, q is sum(conj(p) q) / sum |p|^2.
Affine similarity(const FacePoints& points, const FacePoints& target) {
  const auto [px0, py0] = mean(points);
  const auto [qx0, qy0] = mean(target);
  double a = 0, b = 0, spread = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const double px = points[i][0] - px0, py = points[i][1] - py0, qx = target[i][0] - qx0, qy = target[i][1] - qy0;
    a += px * qx + py * qy;
    b += px * qy - py * qx;
    spread += px * px + py * py;
  }
  CHECK(std::isfinite(spread) && spread > 1e-6, "landmarks with a squared spread of ", spread,
        " pixels: five distinct finite points expected");
  a /= spread, b /= spread;
  CHECK(a * a + b * b > 1e-12, "landmarks that fit no face: the best similarity has scale ", std::sqrt(a * a + b * b));
  return {{{a, -b, qx0 - (a * px0 - b * py0)}, {b, a, qy0 - (b * px0 + a * py0)}}};
}

Image warp_affine(const Image& source, const Affine& forward, int height, int width) {
  CHECK(source.height <= kMaxSide && source.width <= kMaxSide, "warp of an image of ", source.width, "x", source.height,
        ": sides of at most ", kMaxSide, " expected");
  const Affine m = invert(forward);
  Image out(height, width);
  std::vector<int64_t> column_x(width), column_y(width);
  for (int x = 0; x < width; ++x) {
    column_x[x] = to_fixed(m[0][0] * x * kOne);
    column_y[x] = to_fixed(m[1][0] * x * kOne);
  }
  for (int y = 0; y < height; ++y) {
    const int64_t row_x = to_fixed((m[0][1] * y + m[0][2]) * kOne) + kHalfStep;
    const int64_t row_y = to_fixed((m[1][1] * y + m[1][2]) * kOne) + kHalfStep;
    uint8_t* pixel = out.row(y);
    for (int x = 0; x < width; ++x, pixel += 3) {
      const int64_t sx = (row_x + column_x[x]) >> 5, sy = (row_y + column_y[x]) >> 5;
      interpolate(source, sx >> 5, sy >> 5, int(sx & 31), int(sy & 31), pixel);
    }
  }
  return out;
}

Image align(const Image& source, const FacePoints& points, int size) {
  FacePoints target = face_template(size);
  for (auto& point : target)
    for (double& value : point) value = float(value);
  return warp_affine(source, similarity(points, target), size, size);
}

Landmarks read_landmarks(const std::string& path) {
  Landmarks landmarks;
  detail::for_each_line(path, [&](const detail::Line& line) {
    CHECK(line.fields.size() == 11, line.where(), ": ", line.fields.size(), " fields, 11 expected (path x1 y1 ... x5 y5)");
    const std::filesystem::path name = std::string(line.fields[0]);  // it becomes the name of a file that is written
    CHECK(name.is_relative() && std::find(name.begin(), name.end(), "..") == name.end(), line.where(), ": '", brief(line.fields[0]),
          "', expected a path inside the folder of the images");
    FacePoints points;
    for (int i = 0; i < 10; ++i) {
      const double value = line.number<double>(1 + i);
      CHECK(std::isfinite(value), line.where(), ": field ", 2 + i, " is '", brief(line.fields[1 + i]), "', a finite number expected");
      points[i / 2][i % 2] = value;
    }
    const bool added = landmarks.emplace(line.fields[0], points).second;
    CHECK(added, line.where(), ": '", brief(line.fields[0]), "' appears a second time");
  });
  CHECK(!landmarks.empty(), path, ": empty, lines of `path x1 y1 ... x5 y5` expected");
  return landmarks;
}

}  // namespace vitrine::data
