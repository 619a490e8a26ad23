#include <cstdio>  // jpeglib.h needs FILE
#include <cstdlib>

#include <jpeglib.h>

#include "data/codec.h"
#include "data/codec_detail.h"
#include "data/exif.h"
#include "engine/core/error.h"

namespace vitrine::data {
namespace {

using detail::Jump;

// A progressive photograph has about ten scans. Thousands of empty ones make a small file that decodes for minutes.
constexpr int kMaxScans = 100;
constexpr int kExif = JPEG_APP0 + 1;

void fail(j_common_ptr info) {
  auto* jump = static_cast<Jump*>(info->client_data);
  info->err->format_message(info, jump->message);
  std::longjmp(jump->target, 1);
}

// Negative levels are warnings: libjpeg would go on and invent pixels for the missing or corrupt part.
void fail_on_warning(j_common_ptr info, int level) {
  if (level < 0) fail(info);
}

void count_scans(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  auto* jump = static_cast<Jump*>(info->client_data);
  std::snprintf(jump->message, sizeof jump->message, "more than %d scans", kMaxScans);
  std::longjmp(jump->target, 1);
}

// Info is jpeg_decompress_struct or jpeg_compress_struct; jpeg_destroy accepts both, also when creation failed half-way.
template <class Info>
struct Jpeg {
  Info info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  Jump jump;

  Jpeg() {
    info.err = jpeg_std_error(&errors);
    info.client_data = &jump;
    errors.error_exit = fail;
    errors.emit_message = fail_on_warning;
  }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;
  ~Jpeg() { jpeg_destroy(reinterpret_cast<j_common_ptr>(&info)); }
};

// malloc'ed by jpeg_mem_dest, which grows it behind our back.
struct MallocBuffer {
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  ~MallocBuffer() { std::free(bytes); }
};

}  // namespace

Image detail::decode_jpeg(const uint8_t* bytes, size_t size, const std::string& name) {
  Jpeg<jpeg_decompress_struct> jpeg;
  jpeg_decompress_struct& info = jpeg.info;
  const bool header = guarded(jpeg.jump, [&] {
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, bytes, size);
    jpeg_save_markers(&info, kExif, 0xffff);
    jpeg_read_header(&info, TRUE);
  });
  CHECK(header, name, ": JPEG header: ", jpeg.jump.message);

  check_size(info.image_width, info.image_height, name);
  const J_COLOR_SPACE space = info.jpeg_color_space;
  CHECK(space == JCS_YCbCr || space == JCS_GRAYSCALE || space == JCS_RGB, name, ": JPEG of ", info.num_components,
        " components: gray, YCbCr or RGB expected (CMYK is not supported)");
  CHECK(!info.arith_code, name, ": JPEG with arithmetic coding: Huffman coding expected");
  // Each 8x8 block takes at least one bit.
  CHECK(int64_t{info.image_width} * info.image_height <= int64_t(size) * 8 * 64, name, ": JPEG of ", size, " bytes cannot hold ",
        info.image_width, "x", info.image_height, " pixels");

  int orientation = 1;
  for (const jpeg_marker_struct* m = info.marker_list; m && orientation == 1; m = m->next)
    if (m->marker == kExif) orientation = exif_orientation(m->data, m->data_length);

  Image image(int(info.image_height), int(info.image_width));
  const bool decoded = guarded(jpeg.jump, [&] {
    info.out_color_space = JCS_RGB;
    info.dct_method = JDCT_ISLOW;
    info.do_fancy_upsampling = TRUE;
    jpeg.progress.progress_monitor = count_scans;
    info.progress = &jpeg.progress;
    jpeg_start_decompress(&info);
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = image.row(int(info.output_scanline));
      jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);  // reads up to the end marker, so a missing one is noticed
  });
  CHECK(decoded, name, ": JPEG data: ", jpeg.jump.message);
  return upright(std::move(image), orientation);
}

std::vector<uint8_t> encode_jpeg(const Image& image, int quality, Chroma chroma) {
  detail::check_size(image.width, image.height, "JPEG to encode");
  CHECK(quality >= 1 && quality <= 100, "JPEG quality ", quality, ": 1..100 expected");
  MallocBuffer out;
  Jpeg<jpeg_compress_struct> jpeg;
  jpeg_compress_struct& info = jpeg.info;
  const bool encoded = detail::guarded(jpeg.jump, [&] {
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &out.bytes, &out.size);
    info.image_width = JDIMENSION(image.width);
    info.image_height = JDIMENSION(image.height);
    info.input_components = Image::channels;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, quality, TRUE);
    info.dct_method = JDCT_ISLOW;
    info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = chroma == Chroma::k420 ? 2 : 1;
    jpeg_start_compress(&info, TRUE);
    while (info.next_scanline < info.image_height) {
      JSAMPROW row = const_cast<JSAMPROW>(image.row(int(info.next_scanline)));  // the C interface lacks const
      jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
  });
  CHECK(encoded, "JPEG to encode: ", jpeg.jump.message);
  return {out.bytes, out.bytes + out.size};
}

}  // namespace vitrine::data
