// Images in memory and their way into a network's input.
// Layout everywhere: H,W,C row-major, C = 3 in the order R,G,B, one byte per value; batches are N,H,W,C.
#pragma once
#include <cstdint>
#include <vector>

namespace vitrine::data {

// Longest side accepted by the decoders and by warp_affine, whose fixed-point coordinates rely on it.
constexpr int kMaxSide = 16384;

struct Image {
  static constexpr int channels = 3;
  int height = 0, width = 0;
  std::vector<uint8_t> pixels;  // height * width * 3

  Image() = default;
  Image(int height, int width);  // black; Error unless both sides lie in 1 .. kMaxSide

  uint8_t* row(int y) { return pixels.data() + int64_t{y} * width * channels; }
  const uint8_t* row(int y) const { return pixels.data() + int64_t{y} * width * channels; }
  bool operator==(const Image&) const = default;
};

// Left and right exchanged.
Image flip_horizontal(const Image& image);

// The rectangle of columns x0 .. x0+width-1 and rows y0 .. y0+height-1; Error if it leaves the image.
Image crop(const Image& image, int x0, int y0, int width, int height);

// How a network wants its input: f32 (pixel - mean) / std of a height x width image; engine/ops/image_input.h makes it. A larger image is
// cropped about its centre, so 112 x 112 -> 112 x 96 keeps columns 8..103; nothing is interpolated.
struct Preprocess {
  int height = 112, width = 112;
  float mean = 127.5f, std = 127.5f;  // in units of the byte values 0..255
  bool bgr = false;                   // channel order of the input
  int shrink = 1;                     // first, every shrink x shrink block of pixels becomes one
};

// Error if the image is smaller, or nothing can be made of any.
void check_input(const Image& image, const Preprocess& preprocess);

}  // namespace vitrine::data
