#include "data/image.h"

#include <algorithm>

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

void check_input(const Image& image, const Preprocess& p) {
  CHECK(p.height > 0 && p.width > 0 && p.std != 0 && p.shrink > 0 && p.shrink <= 64,
        "preprocessing: a positive size, a non-zero std and to shrink by 1 to 64 expected, got ", p.width, "x", p.height, ", std ", p.std,
        ", ", p.shrink);
  const int height = image.height / p.shrink, width = image.width / p.shrink;
  CHECK(height >= p.height && width >= p.width, "image of ", height, "x", width, " is smaller than the network's input of ", p.height, "x",
        p.width, " (height x width)");
}

}  // namespace vitrine::data
