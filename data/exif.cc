#include "data/exif.h"

#include <algorithm>
#include <cstring>

namespace vitrine::data {
namespace {

// A TIFF file: numbers of either byte order, zeros where it has ended.
struct Tiff {
  const uint8_t* bytes;
  size_t size;
  bool big = false;
  uint32_t number(size_t at, size_t width) const {
    if (at > size || size - at < width) return 0;
    uint32_t v = 0;
    for (size_t i = 0; i < width; ++i) v = v << 8 | bytes[at + (big ? i : width - 1 - i)];
    return v;
  }
};

constexpr size_t kEntry = 12;  // tag, type, count, value or where it is
constexpr uint32_t kOrientation = 0x0112, kShort = 3, kTiff = 42;

}  // namespace

int exif_orientation(const uint8_t* app1, size_t size) {
  if (size < 14 || std::memcmp(app1, "Exif\0\0", 6) != 0) return 1;
  Tiff t{app1 + 6, size - 6};
  t.big = t.bytes[0] == 'M';
  if (t.bytes[0] != t.bytes[1] || (t.bytes[0] != 'M' && t.bytes[0] != 'I') || t.number(2, 2) != kTiff) return 1;
  const size_t directory = t.number(4, 4), entries = t.number(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = directory + 2 + i * kEntry;
    if (t.number(at, 2) != kOrientation || t.number(at + 2, 2) != kShort) continue;
    const uint32_t v = t.number(at + 8, 2);
    return v >= 1 && v <= 8 ? static_cast<int>(v) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool transposed = orientation >= 5, right = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool down = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;  // right, down: exchanged behind
  Image out(transposed ? image.width : image.height, transposed ? image.height : image.width);
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x) {
      const int v = down ? out.height - 1 - y : y, u = right ? out.width - 1 - x : x;
      const uint8_t* from = transposed ? image.row(u) + int64_t{v} * Image::channels : image.row(v) + int64_t{u} * Image::channels;
      std::copy_n(from, Image::channels, out.row(y) + int64_t{x} * Image::channels);
    }
  return out;
}

}  // namespace vitrine::data
