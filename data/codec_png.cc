#include <png.h>

#include <cstdio>
#include <cstring>

#include "data/codec.h"
#include "data/codec_detail.h"
#include "engine/core/error.h"

namespace vitrine::data {
namespace {

using detail::Jump;

[[noreturn]] void fail(png_structp png, const char* message) {
  auto* jump = static_cast<Jump*>(png_get_error_ptr(png));
  std::snprintf(jump->message, sizeof jump->message, "%s", message);
  std::longjmp(jump->target, 1);
}

// Unlike libjpeg's, libpng's warnings concern side matters (colour profiles, text), never pixels.
void ignore_warning(png_structp, const char*) {}

struct Source {
  const uint8_t* bytes;
  size_t size, at;
};

void read_bytes(png_structp png, png_bytep out, size_t size) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (size > source->size - source->at) png_error(png, "the file ends early");
  std::memcpy(out, source->bytes + source->at, size);
  source->at += size;
}

struct Reader {
  Jump jump;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &jump, fail, ignore_warning);
  png_infop info = png ? png_create_info_struct(png) : nullptr;

  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

// Ask for 8-bit RGB rows, whatever is stored; of a palette for its indices, a byte each, because libpng's own expansion takes those beyond
// the palette for black. Runs inside guarded().
void request_rows(png_structp png, bool indexed) {
  if (indexed) return png_set_packing(png);
  png_set_expand(png);
  png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_gray_to_rgb(png);
}

// Rows that begin with their indices become rows of colours, from the right.
void look_up(png_structp png, png_infop info, Image& image, const std::string& name) {
  png_colorp palette = nullptr;
  int colours = 0;
  png_get_PLTE(png, info, &palette, &colours);
  for (int y = 0; y < image.height; ++y)
    for (int x = image.width - 1; x >= 0; --x) {
      const int index = image.row(y)[x];
      CHECK(index < colours, name, ": PNG data: colour ", index, " of a palette of ", colours);
      uint8_t* pixel = image.row(y) + Image::channels * x;
      pixel[0] = palette[index].red, pixel[1] = palette[index].green, pixel[2] = palette[index].blue;
    }
}

}  // namespace

Image detail::decode_png(const uint8_t* bytes, size_t size, const std::string& name) {
  Source source{bytes, size, 0};
  Reader reader;
  const png_structp png = reader.png;
  const png_infop info = reader.info;
  CHECK(png && info, name, ": PNG: libpng is out of memory");
  const bool header = guarded(reader.jump, [&] {
    png_set_read_fn(png, &source, read_bytes);
    png_read_info(png, info);
  });
  CHECK(header, name, ": PNG header: ", reader.jump.message);

  const int64_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
  check_size(width, height, name);
  // Deflate expands at most 1032 times; a row carries one filter byte.
  CHECK(int64_t(png_get_rowbytes(png, info) + 1) * height <= int64_t(size) * 1032, name, ": PNG of ", size, " bytes cannot hold ", width,
        "x", height, " pixels");

  const bool indexed = png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE;
  int passes = 0;  // 7 when interlaced
  size_t row_bytes = 0;
  const bool prepared = guarded(reader.jump, [&] {
    request_rows(png, indexed);
    passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    row_bytes = png_get_rowbytes(png, info);
  });
  CHECK(prepared, name, ": PNG header: ", reader.jump.message);
  const int64_t expected = width * (indexed ? 1 : Image::channels);
  CHECK(int64_t(row_bytes) == expected, name, ": PNG: rows of ", row_bytes, " bytes, ", expected, " expected");

  Image image{int(height), int(width)};
  const bool decoded = guarded(reader.jump, [&] {
    for (int pass = 0; pass < passes; ++pass)
      for (int y = 0; y < image.height; ++y) png_read_row(png, image.row(y), nullptr);
    png_read_end(png, nullptr);
  });
  CHECK(decoded, name, ": PNG data: ", reader.jump.message);
  if (indexed) look_up(png, info, image, name);
  return image;
}

std::vector<uint8_t> encode_png(const Image& image) {
  detail::check_size(image.width, image.height, "PNG to encode");
  png_image header{};  // libpng's simplified interface: it catches its own jumps
  header.version = PNG_IMAGE_VERSION;
  header.width = png_uint_32(image.width);
  header.height = png_uint_32(image.height);
  header.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::vector<uint8_t> out(size);
  const bool encoded = png_image_write_to_memory(&header, out.data(), &size, 0, image.pixels.data(), 0, nullptr);
  const std::string message = header.message;
  png_image_free(&header);
  CHECK(encoded, "PNG to encode: ", message);
  out.resize(size);
  return out;
}

}  // namespace vitrine::data
