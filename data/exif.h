// The orientation that a camera notes beside the pixels (Exif 2.3, tag 0x0112), and images turned by it: what OpenCV's imread does, and so
// what the programs saw that found published landmarks.
#pragma once
#include <cstddef>
#include <cstdint>

#include "data/image.h"

namespace vitrine::data {

// Of the contents of a JPEG's APP1 segment: 1 to 8; 1, which turns nothing, where there is none that can be read.
int exif_orientation(const uint8_t* app1, size_t size);

// 1: itself; 2: mirrored; 3: turned by 180 degrees; 4: mirrored in a lake; 5: transposed; 6, 8: turned by 90 degrees to the right, to the
// left; 7: 5 turned by 180.
Image upright(Image image, int orientation);

}  // namespace vitrine::data
