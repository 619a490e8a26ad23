#include "data/codec.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "data/codec_detail.h"
#include "engine/core/bytes.h"
#include "engine/core/error.h"

namespace vitrine::data {
namespace {

bool starts_with(const uint8_t* bytes, size_t size, std::initializer_list<uint8_t> magic) {
  return size >= magic.size() && std::equal(magic.begin(), magic.end(), bytes);
}

std::string lower_extension(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  for (char& c : extension) c = char(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

}  // namespace

void detail::check_size(int64_t width, int64_t height, const std::string& name) {
  CHECK(width > 0 && height > 0 && width <= kMaxSide && height <= kMaxSide, name, ": image of ", width, "x", height, ": sides of 1..",
        kMaxSide, " expected");
}

Image decode(const uint8_t* bytes, size_t size, const std::string& name) {
  if (starts_with(bytes, size, {0xff, 0xd8, 0xff})) return detail::decode_jpeg(bytes, size, name);
  if (starts_with(bytes, size, {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'})) return detail::decode_png(bytes, size, name);
  throw Error(cat(name, ": neither JPEG nor PNG (", size, " bytes, magic number not found)"));
}

Image read_image(const std::string& path) {
  const std::string bytes = load_bytes(path);
  return decode(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), path);
}

void write_image(const std::string& path, const Image& image) {
  CHECK(has_image_extension(path), path, ": extension .jpg, .jpeg or .png expected");
  const std::vector<uint8_t> bytes = lower_extension(path) == ".png" ? encode_png(image) : encode_jpeg(image);
  save_bytes(path, [&](std::ostream& out) { out.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size())); });
}

bool has_image_extension(const std::string& path) {
  const std::string extension = lower_extension(path);
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

}  // namespace vitrine::data
