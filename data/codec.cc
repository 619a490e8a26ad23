#include "data/codec.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "data/codec_detail.h"
#include "engine/core/error.h"

namespace vitrine::data {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File open(const std::string& path, const char* mode) { return {std::fopen(path.c_str(), mode), std::fclose}; }

bool starts_with(const uint8_t* bytes, size_t size, std::initializer_list<uint8_t> magic) {
  return size >= magic.size() && std::equal(magic.begin(), magic.end(), bytes);
}

std::string lower_extension(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  for (char& c : extension) c = char(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

std::vector<uint8_t> read_bytes(const std::string& path) {
  const File file = open(path, "rb");
  CHECK(file, path, ": cannot be opened: ", std::strerror(errno));
  std::vector<uint8_t> bytes;
  uint8_t chunk[1 << 16];
  while (const size_t n = std::fread(chunk, 1, sizeof chunk, file.get())) bytes.insert(bytes.end(), chunk, chunk + n);
  CHECK(!std::ferror(file.get()), path, ": cannot be read: ", std::strerror(errno));
  return bytes;
}

void write_bytes(const std::string& path, const std::vector<uint8_t>& bytes) {
  File file = open(path, "wb");
  CHECK(file, path, ": cannot be created: ", std::strerror(errno));
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file.get()) == bytes.size();
  const bool closed = std::fclose(file.release()) == 0;  // a full disk may show only here
  CHECK(written && closed, path, ": cannot be written: ", std::strerror(errno));
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
  const std::vector<uint8_t> bytes = read_bytes(path);
  return decode(bytes.data(), bytes.size(), path);
}

void write_image(const std::string& path, const Image& image) {
  CHECK(has_image_extension(path), path, ": extension .jpg, .jpeg or .png expected");
  const std::vector<uint8_t> bytes = lower_extension(path) == ".png" ? encode_png(image) : encode_jpeg(image);
  const std::string temporary = cat(path, ".", getpid(), ".tmp");
  try {
    write_bytes(temporary, bytes);
    CHECK(std::rename(temporary.c_str(), path.c_str()) == 0, path, ": cannot be replaced: ", std::strerror(errno));
  } catch (...) {
    std::remove(temporary.c_str());
    throw;
  }
}

bool has_image_extension(const std::string& path) {
  const std::string extension = lower_extension(path);
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

}  // namespace vitrine::data
