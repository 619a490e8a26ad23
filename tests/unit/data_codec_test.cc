// JPEG and PNG: the reference decoders' bits, round trips, every kind of refusal.
#include "data/codec.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <algorithm>

#include <cmath>
#include <cstdlib>

#include <jpeglib.h>
#include <png.h>

#include "data/exif.h"
#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

Image decode_bytes(const std::vector<uint8_t>& bytes) { return decode(bytes.data(), bytes.size(), "test"); }

TEST(DataCodec, Sha256OfTheTestsIsTheStandards) {
  EXPECT_EQ(sha256({'a', 'b', 'c'}), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// Generated pictures; the fingerprints are of the pixels that OpenCV 4.6 decodes.
TEST(DataCodec, JpegPixelsAreBitExact) {
  const std::pair<const char*, const char*> cases[] = {
      {"q95_a.jpg", "9befb69000fba93ed81275cc18f7580ac404ede3646d1c09816abc3e4fce5406"},
      {"q95_b.jpg", "618d7e02e64cd369506ac16c31823c2e4191d420a9be0ec097aee0c6c8576732"},
      {"q100.jpg", "6c002a07b15589b70ad81d2238dc824154328a7415b279c65312b1c859920227"},
      {"q90.jpg", "a7ca28877073fefeaf4f197e1c378d84f74fb2132406be04ba1a570c7ef18a36"},
      {"q75.jpg", "4e0341e769db5dd1e1f4649c1f560827965d5e97597fad7a9620e8cb454dc323"},
      {"gray.jpg", "f9168a1ab4ff62edcdea46ba062e6a30f8a918e620d9e07e88e4a7f85e0ec8a8"},
      {"progressive.jpg", "5ad5bab7af95b96426d280149fca9b5459042b4378c80c35c9b565dc1386958a"},
      {"small.jpg", "f47e13dee69a9b0e92217c4e6efd40c301a5341cd9e0d9e3b872ccc067b4bb79"}};
  for (const auto& [name, fingerprint] : cases) {
    const Image image = read_image(golden(cat("data/", name)));
    EXPECT_EQ(image.height, 112) << name;
    EXPECT_EQ(image.width, 112) << name;
    EXPECT_EQ(sha256(image.pixels), fingerprint) << name;
  }
}

// A picture of 3 x 2 pixels and what OpenCV's imread makes of it for orientations 1 to 8.
TEST(DataCodec, OrientationsTurnAsInOpenCv) {
  const std::pair<int, const char*> expected[] = {{3, "abcdef"}, {3, "cbafed"}, {3, "fedcba"}, {3, "defabc"},
                                                  {2, "adbecf"}, {2, "daebfc"}, {2, "fcebda"}, {2, "cfbead"}};
  Image picture(2, 3);
  for (int i = 0; i < 18; ++i) picture.pixels[i] = static_cast<uint8_t>("abcdef"[i / 3]);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image turned = upright(picture, orientation);
    EXPECT_EQ(turned.width, expected[orientation - 1].first) << orientation;
    std::string letters;
    for (size_t i = 0; i < turned.pixels.size(); i += 3) letters += static_cast<char>(turned.pixels[i]);
    EXPECT_EQ(letters, expected[orientation - 1].second) << orientation;
  }
}

// An APP1 segment with one directory of two entries, the orientation last.
std::vector<uint8_t> exif(int orientation, bool big) {
  std::vector<uint8_t> out{'E', 'x', 'i', 'f', 0, 0, uint8_t(big ? 'M' : 'I'), uint8_t(big ? 'M' : 'I')};
  auto put = [&](uint32_t v, int width) {
    for (int i = 0; i < width; ++i) out.push_back(uint8_t(v >> 8 * (big ? width - 1 - i : i)));
  };
  put(42, 2), put(8, 4), put(2, 2);
  put(0x0100, 2), put(4, 2), put(1, 4), put(77, 4);
  put(0x0112, 2), put(3, 2), put(1, 4), put(uint32_t(orientation), 2), put(0, 2);
  put(0, 4);
  return out;
}

std::vector<uint8_t> with_segment(std::vector<uint8_t> jpeg, const std::vector<uint8_t>& app1) {
  std::vector<uint8_t> segment{0xff, 0xe1, uint8_t((app1.size() + 2) >> 8), uint8_t(app1.size() + 2)};
  segment.insert(segment.end(), app1.begin(), app1.end());
  jpeg.insert(jpeg.begin() + 2, segment.begin(), segment.end());
  return jpeg;
}

TEST(DataCodec, JpegsAreTurnedUprightByExifInBothByteOrders) {
  Image picture(24, 40);
  for (size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = uint8_t(i * i / 7);
  const std::vector<uint8_t> jpeg = encode_jpeg(picture);
  const Image stored = decode_bytes(jpeg);
  for (int orientation = 0; orientation <= 9; ++orientation)
    for (bool big : {false, true}) {
      const Image expected = upright(stored, orientation >= 1 && orientation <= 8 ? orientation : 1);
      EXPECT_EQ(decode_bytes(with_segment(jpeg, exif(orientation, big))), expected) << orientation;
    }
  const std::vector<uint8_t> whole = exif(6, true);
  for (size_t size = 0; size < whole.size() - 4; ++size) {  // the last four bytes only say that no directory follows
    const std::vector<uint8_t> part(whole.begin(), whole.begin() + static_cast<int64_t>(size));
    const Image got = decode_bytes(with_segment(jpeg, part));
    EXPECT_TRUE(got == stored || (size >= whole.size() - 6 && got == upright(stored, 6))) << size;
  }
}

// The PNG files hold one 7x5 picture in all the ways PNG knows; pixel (x,y) is this colour, or its red as gray.
TEST(DataCodec, EveryKindOfPngBecomesRgb) {
  for (const std::string name : {"rgb8", "rgb8_interlaced", "rgba8", "rgb16", "rgba16_interlaced", "palette8", "palette8_transparent",
                                 "gray8", "gray16", "gray_alpha8", "gray8_transparent", "gray1"}) {
    const Image image = read_image(golden("data/" + name + ".png"));
    ASSERT_EQ(image.height, 5) << name;
    ASSERT_EQ(image.width, 7) << name;
    for (int y = 0; y < 5; ++y)
      for (int x = 0; x < 7; ++x) {
        std::array<int, 3> expected = {(x * 37 + y * 11) % 256, (x * 5 + y * 53) % 256, (x * 91 + y * 7) % 256};
        if (name.starts_with("gray")) expected[1] = expected[2] = expected[0];
        if (name == "gray1") expected.fill((x + y) % 2 * 255);
        for (int c = 0; c < 3; ++c) ASSERT_EQ(image.row(y)[3 * x + c], expected[c]) << name << " " << x << "," << y;
      }
  }
}

TEST(DataCodec, ColoursOutsideThePaletteAreRefused) {
  png_byte index[4] = {0, 1, 2, 3};
  png_color colours[4] = {{9, 8, 7}, {1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
  const auto written = [&](int count, int bits) {
    std::vector<uint8_t> out;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, [](png_structp, const char*) {});
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(
        png, &out,
        [](png_structp p, png_bytep b, size_t n) {
          auto* o = static_cast<std::vector<uint8_t>*>(png_get_io_ptr(p));
          o->insert(o->end(), b, b + n);
        },
        nullptr);
    png_set_IHDR(png, info, 4, 1, bits, PNG_COLOR_TYPE_PALETTE, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_set_PLTE(png, info, colours, count);
    png_set_check_for_invalid_index(png, -1);
    png_write_info(png, info);
    png_set_packing(png);
    png_write_row(png, index);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return out;
  };
  for (int bits : {2, 4, 8}) {
    EXPECT_EQ(decode_bytes(written(4, bits)).pixels, (std::vector<uint8_t>{9, 8, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9})) << bits;
    EXPECT_EQ(error_of([&] { decode_bytes(written(3, bits)); }), "test: PNG data: colour 3 of a palette of 3") << bits;
  }
}

TEST(DataCodec, PngRoundTripsExactly) {
  for (const auto& [height, width] : {std::pair{1, 1}, {1, 300}, {300, 1}, {112, 112}, {17, 33}}) {
    const Image image = gradient(height, width, 5);
    EXPECT_EQ(decode_bytes(encode_png(image)), image);
  }
}

TEST(DataCodec, JpegRoundTripIsCloseAndSizesFollowTheOptions) {
  const Image image = gradient(61, 83);
  const auto full = encode_jpeg(image, 100, Chroma::k444), half = encode_jpeg(image, 100), rough = encode_jpeg(image, 30);
  EXPECT_GT(full.size(), half.size());
  EXPECT_GT(half.size(), rough.size());
  const Image back = decode_bytes(full);
  ASSERT_EQ(back.pixels.size(), image.pixels.size());
  for (size_t i = 0; i < image.pixels.size(); ++i) ASSERT_LE(std::abs(back.pixels[i] - image.pixels[i]), 4);
  EXPECT_EQ(encode_jpeg(image), encode_jpeg(image));
  EXPECT_NE(error_of([&] { encode_jpeg(image, 0); }), "");
  EXPECT_NE(error_of([&] { encode_jpeg(image, 101); }), "");
  EXPECT_NE(error_of([&] { encode_jpeg(Image()); }), "");
  EXPECT_NE(error_of([&] { encode_png(Image()); }), "");
}

// An 8x8 JPEG made by libjpeg with settings that encode_jpeg does not offer.
template <class Configure>
std::vector<uint8_t> unusual_jpeg(J_COLOR_SPACE space, const Configure& configure) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);  // a failure here ends the test program with libjpeg's message
  jpeg_create_compress(&info);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &bytes, &size);
  info.image_width = info.image_height = 8;
  info.input_components = space == JCS_CMYK ? 4 : 3;
  info.in_color_space = space;
  jpeg_set_defaults(&info);
  configure(info);
  jpeg_start_compress(&info, TRUE);
  std::vector<uint8_t> line(32, 100);
  JSAMPROW row = line.data();
  for (int y = 0; y < 8; ++y) jpeg_write_scanlines(&info, &row, 1);
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  const std::vector<uint8_t> out(bytes, bytes + size);
  std::free(bytes);
  return out;
}

TEST(DataCodec, UnusualJpegsAreRefused) {
  const auto plain = unusual_jpeg(JCS_RGB, [](auto&) {});
  EXPECT_EQ(decode_bytes(plain).width, 8);
  const auto cmyk = unusual_jpeg(JCS_CMYK, [](auto&) {});
  EXPECT_NE(error_of([&] { decode_bytes(cmyk); }).find("CMYK is not supported"), std::string::npos);
  const auto arithmetic = unusual_jpeg(JCS_RGB, [](auto& info) { info.arith_code = TRUE; });
  EXPECT_NE(error_of([&] { decode_bytes(arithmetic); }).find("arithmetic coding"), std::string::npos);

  std::vector<jpeg_scan_info> scans;  // legal, but every coefficient of every component comes alone
  for (int component = 0; component < 3; ++component)
    for (int k = 0; k < 64; ++k) scans.push_back({1, {component}, k, k, 0, 0});
  const auto many = unusual_jpeg(JCS_RGB, [&](auto& info) { info.scan_info = scans.data(), info.num_scans = int(scans.size()); });
  EXPECT_EQ(error_of([&] { decode_bytes(many); }), "test: JPEG data: more than 100 scans");
}

// 65535 x 65535 declared by a small file: refused by size. 16384 x 16384: possible, but not in so few bytes.
TEST(DataCodec, HugeDeclaredSizesAreRefusedBeforeAllocation) {
  std::vector<uint8_t> jpeg = golden_bytes("small.jpg"), png = golden_bytes("rgb8.png");
  const uint8_t frame[] = {0xff, 0xc0, 0x00, 0x11, 0x08};  // SOF0, length, precision; then height, width
  const auto at = std::search(jpeg.begin(), jpeg.end(), std::begin(frame), std::end(frame)) - jpeg.begin() + 5;
  std::fill_n(jpeg.begin() + at, 4, 0xff);
  EXPECT_NE(error_of([&] { decode_bytes(jpeg); }), "");
  for (const int i : {0, 2}) jpeg[at + i] = 0x40, jpeg[at + i + 1] = 0;
  EXPECT_EQ(error_of([&] { decode_bytes(jpeg); }), "test: JPEG of 2695 bytes cannot hold 16384x16384 pixels");
}

TEST(DataCodec, MessagesNameTheFileAndTheFault) {
  const Scratch scratch;
  const auto error = [&](const std::string& path) { return error_of([&] { read_image(path); }); };
  EXPECT_NE(error(scratch / "none.jpg").find("none.jpg: cannot be opened: No such file"), std::string::npos);
  EXPECT_NE(error(scratch.path.string()).find(": is a directory, expected a file"), std::string::npos);
  EXPECT_NE(error(scratch.write("empty.jpg", "")).find("empty.jpg: neither JPEG nor PNG (0 bytes"), std::string::npos);
  EXPECT_NE(error(scratch.write("text.png", "hello, world")).find("neither JPEG nor PNG"), std::string::npos);
  const std::string jpeg = read_file(golden("data/small.jpg")), png = read_file(golden("data/rgb8.png"));
  EXPECT_NE(error(scratch.write("cut.jpg", jpeg.substr(0, 2000))).find("cut.jpg: JPEG data: Premature end"), std::string::npos);
  EXPECT_NE(error(scratch.write("cut.png", png.substr(0, 100))).find("cut.png: PNG data: the file ends early"), std::string::npos);
}

TEST(DataCodec, WritingReplacesWholeFilesAndLeavesNothingBehindOnFailure) {
  const Scratch scratch;
  const Image image = gradient(20, 30);
  for (const std::string name : {"a.png", "b.jpg", "c.JPEG"}) {
    write_image(scratch / name, gradient(9, 9));
    write_image(scratch / name, image);
    EXPECT_EQ(read_image(scratch / name).width, 30);
  }
  EXPECT_EQ(read_image(scratch / "a.png"), image);
  std::filesystem::create_directory(scratch / "folder.png");
  EXPECT_NE(error_of([&] { write_image(scratch / "folder.png", image); }).find("folder.png: cannot be replaced"), std::string::npos);
  EXPECT_NE(error_of([&] { write_image(scratch / "none/a.png", image); }).find("cannot be created: No such file"), std::string::npos);
  EXPECT_NE(error_of([&] { write_image(scratch / "a.bmp", image); }).find("extension"), std::string::npos);
  const auto entries = std::filesystem::directory_iterator(scratch.path);
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 4);  // no temporary file
}

}  // namespace
}  // namespace vitrine::data
