// From decoded images to a network's input.
#pragma once
#include "engine/core/host_device.h"
#include "engine/core/op.h"

namespace vitrine {

struct ImageInputAttrs : Attrs {
  int64_t height = 112, width = 112;
  int64_t shrink = 1, bgr = 0;       // every shrink x shrink block of pixels becomes one; channel order of the result
  double mean = 127.5, std = 127.5;  // in units of the bytes, rounded to f32
  void visit(AttrVisitor& v) override {
    v("height", height), v("width", width), v("shrink", shrink), v("bgr", bgr), v("mean", mean), v("std", std);
  }
};

// bytes u8 [B]: images, R,G,B. places i64 [N,4]: of each its first byte, height, width, and 1 if it is to be mirrored. -> f32
// [N,height,width,3]: (byte - mean) / std. A larger image is cropped about its centre, rows and columns from floor((image - wanted) / 2)
// on; then mirrored. Error if an image is smaller or leaves the bytes. Not differentiable.
Tensor image_input(const Tensor& bytes, const Tensor& places, const ImageInputAttrs&);

struct ImagePlace {
  int64_t first, height, width, mirrored;
};

// The mean of a block of a channel of an image that is `width` pixels wide, halves rounded up.
VITRINE_HD inline int shrunken_byte(const uint8_t* image, int64_t width, int64_t shrink, int64_t y, int64_t x, int64_t channel) {
  int sum = static_cast<int>(shrink * shrink / 2);
  for (int64_t dy = 0; dy < shrink; ++dy)
    for (int64_t dx = 0; dx < shrink; ++dx) sum += image[((y * shrink + dy) * width + x * shrink + dx) * 3 + channel];
  return sum / static_cast<int>(shrink * shrink);
}

}  // namespace vitrine
