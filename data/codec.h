// JPEG and PNG, in memory and on disk. Pixels come out as 8-bit RGB, whatever the file holds.
// JPEG: libjpeg-turbo with the accurate integer IDCT and fancy upsampling, the bits that OpenCV 4.6 produces. Gray is
//   replicated; images are turned upright by the orientation in EXIF (exif.h). CMYK, arithmetic coding and every file that libjpeg warns
//   about are refused.
// PNG: palette and low depths are expanded, 16 bits keep their high byte, alpha is dropped (not composited), gamma is ignored.
// Every function throws Error with one line "NAME: what is wrong". Sides over kMaxSide (so at most 2^28 pixels), or more pixels than
// the file's bytes can possibly encode, are refused before anything is allocated: a damaged or hostile file costs little.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"

namespace vitrine::data {

// Decodes by the first bytes; `name` only serves the messages.
Image decode(const uint8_t* bytes, size_t size, const std::string& name);

enum class Chroma { k420, k444 };  // k420 halves the colour resolution both ways, the default of libjpeg and OpenCV
std::vector<uint8_t> encode_jpeg(const Image& image, int quality = 95, Chroma chroma = Chroma::k420);  // quality 1..100
std::vector<uint8_t> encode_png(const Image& image);

Image read_image(const std::string& path);
// By the extension: .jpg, .jpeg (quality 95) or .png in any case. Readers see the old file or the whole new one, never a part
// (save_bytes). The folder must exist.
void write_image(const std::string& path, const Image& image);

// ".JPG" -> true: the extensions the two functions above and DirectorySet know.
bool has_image_extension(const std::string& path);

}  // namespace vitrine::data
