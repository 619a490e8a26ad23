#include "data/image.h"

#include <algorithm>
#include <array>

#include "engine/core/error.h"

namespace vitrine::data {

Image::Image(int height, int width) : height(height), width(width) {
  CHECK(height > 0 && width > 0 && height <= kMaxSide && width <= kMaxSide, "image of ", width, "x", height,
        " (width x height): sides of 1..", kMaxSide, " expected");
  pixels.resize(size_t(height) * width * channels);
}

Image flip_horizontal(const Image& image) {
  Image out = image;
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* from = image.row(y) + Image::channels * image.width;
    for (uint8_t *to = out.row(y), *end = to + Image::channels * image.width; to != end; to += Image::channels) {
      from -= Image::channels;
      std::copy_n(from, Image::channels, to);
    }
  }
  return out;
}

Image crop(const Image& image, int x0, int y0, int width, int height) {
  const bool inside = x0 >= 0 && y0 >= 0 && width > 0 && height > 0 && width <= image.width - x0 && height <= image.height - y0;
  CHECK(inside, "crop of ", width, "x", height, " at (", x0, ",", y0, ") leaves the image of ", image.width, "x", image.height);
  Image out(height, width);
  for (int y = 0; y < height; ++y) std::copy_n(image.row(y0 + y) + Image::channels * x0, Image::channels * width, out.row(y));
  return out;
}

Image shrink(const Image& image, int factor) {
  CHECK(factor > 0 && factor <= 64, "shrinking by ", factor, ": a factor from 1 to 64 expected");
  Image out(image.height / factor, image.width / factor);
  const int area = factor * factor;
  for (int y = 0; y < out.height; ++y)
    for (int i = 0; i < out.width * Image::channels; ++i) {
      int sum = area / 2;
      const int x = i / Image::channels * factor * Image::channels + i % Image::channels;
      for (int dy = 0; dy < factor; ++dy)
        for (int dx = 0; dx < factor; ++dx) sum += image.row(y * factor + dy)[x + dx * Image::channels];
      out.row(y)[i] = uint8_t(sum / area);
    }
  return out;
}

void to_float(const Image& image, const Preprocess& preprocess, float* out, bool flip) {
  if (preprocess.shrink != 1) {
    Preprocess rest = preprocess;
    rest.shrink = 1;
    return to_float(shrink(image, preprocess.shrink), rest, out, flip);
  }
  const auto& [height, width, mean, std, bgr, unused] = preprocess;
  CHECK(height > 0 && width > 0 && std != 0, "preprocessing: a positive size and a non-zero std expected, got ", width, "x", height,
        ", std ", std);
  CHECK(image.height >= height && image.width >= width, "image of ", image.width, "x", image.height,
        " is smaller than the network's input of ", width, "x", height);
  std::array<float, 256> value;  // there are only 256 quotients: divide them once
  for (int v = 0; v < 256; ++v) value[v] = (float(v) - mean) / std;

  const int y0 = (image.height - height) / 2, x0 = (image.width - width) / 2;
  const int first = bgr ? 2 : 0, last = 2 - first;
  for (int y = 0; y < height; ++y) {
    const uint8_t* from = image.row(y0 + y) + Image::channels * (flip ? x0 + width - 1 : x0);
    for (int x = 0; x < width; ++x, from += flip ? -Image::channels : Image::channels) {
      *out++ = value[from[first]];
      *out++ = value[from[1]];
      *out++ = value[from[last]];
    }
  }
}

}  // namespace vitrine::data
