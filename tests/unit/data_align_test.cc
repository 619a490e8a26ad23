// Alignment against golden values made with scikit-image and OpenCV 4.6 (tests/golden/data/alignment.json).
#include "data/align.h"

#include <gtest/gtest.h>
#include <algorithm>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

const nlohmann::json& gold() {
  static const nlohmann::json value = nlohmann::json::parse(read_file(golden("data/alignment.json")));
  return value;
}

FacePoints points_of(const std::string& name) { return gold()["cases"][name]["landmarks"].get<FacePoints>(); }

TEST(DataAlign, MatricesMeetTheGoldenOnes) {
  for (const auto& [name, expected] : gold()["cases"].items()) {
    const Affine m = similarity(points_of(name));
    for (const char* reference : {"M_closed_form_f64", "M_skimage_f64"})
      for (int i = 0; i < 6; ++i) EXPECT_NEAR(m[i / 3][i % 3], expected[reference][i / 3][i % 3].get<double>(), 1e-8) << name;
  }
}

TEST(DataAlign, TemplatesOfAllSizesMeetTheGoldenOnes) {
  for (const auto& [size, expected] : gold()["dst_for_size"].items()) {
    const FacePoints points = face_template(std::stoi(size));
    for (int i = 0; i < 10; ++i) EXPECT_NEAR(points[i / 2][i % 2], expected[i / 2][i % 2].get<double>(), 1e-9) << size;
  }
  for (const int size : {0, -112, 100, 113}) EXPECT_NE(error_of([&] { face_template(size); }), "") << size;
}

// The golden recipe: noise of 5 bits on three ramps, row-major H,W and B,G,R.
Image synthetic(const std::string& name, int height, int width) {
  uint64_t state = 0xcbf29ce484222325;  // FNV-1a of the name seeds splitmix64
  for (const char c : name) state = (state ^ uint8_t(c)) * 0x100000001b3;
  const auto noise = [&] {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return int((z ^ z >> 31) >> 59);
  };
  Image image(height, width);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      uint8_t* p = image.row(y) + 3 * x;
      p[2] = uint8_t((3 * x + y) % 224 + noise());
      p[1] = uint8_t((x + 2 * y) % 224 + noise());
      p[0] = uint8_t((x * x / 16 + y) % 224 + noise());
    }
  return image;
}

// The golden crops were made with scikit-image's matrices of float32 landmarks, up to 4e-5 away from ours in double.
TEST(DataAlign, WarpIsBitExactWithOpenCv) {
  for (const auto& [name, expected] : gold()["warp"]["cases"].items()) {
    Image source = synthetic(name, expected["h"], expected["w"]);
    const std::string landmarks = expected["landmarks"];
    Image crop = warp_affine(source, gold()["cases"][landmarks]["M_skimage_f32_inputs"].get<Affine>(), 112, 112);
    EXPECT_EQ(sha256(crop.pixels), expected["dst_sha256_rgb"].get<std::string>()) << name;
    for (int c = 0; c < 3; ++c) EXPECT_EQ(crop.row(56)[3 * 56 + c], expected["center_bgr"][2 - c]) << name;

    // With our own matrix a coordinate may round to the neighbouring 1/32 pixel, so few values change, and little.
    const Image own = align(source, points_of(landmarks));
    int changed = 0, largest = 0;
    for (size_t i = 0; i < own.pixels.size(); ++i) {
      const int difference = std::abs(own.pixels[i] - crop.pixels[i]);
      changed += difference > 0, largest = std::max(largest, difference);
    }
    EXPECT_LE(changed, 60) << name;  // of 37,632
    EXPECT_LE(largest, 8) << name;

    for (Image* image : {&source, &crop})
      for (size_t i = 0; i < image->pixels.size(); i += 3) std::swap(image->pixels[i], image->pixels[i + 2]);
    EXPECT_EQ(sha256(source.pixels), expected["src_sha256"].get<std::string>()) << name;
    EXPECT_EQ(sha256(crop.pixels), expected["dst_sha256_bgr"].get<std::string>()) << name;
  }
}

// Digests of R,G,B crops that OpenCV 4.6 made of the same sources with the template in float32; w4 tells it from one in double.
TEST(DataAlign, AlignUsesTheTemplateInFloat32) {
  const std::map<std::string, std::string> digests = {{"w1", "a58416d367f21ba043fe1f23b4c17ded3e6a12f3de46de38f66d0b62b33e3d45"},
                                                      {"w2", "6875e773c925cfb1eca67ae80a0f5f7852956e3f02c394848458c705899103c4"},
                                                      {"w3", "bac10fa6f99128aa4ce07d1b78710db76d6d97506512412025c8ccff7aa19a3f"},
                                                      {"w4", "46adccd8ad624e49c4e533c3954cbad22606512975afc681f2c944bfaeda6687"},
                                                      {"w5", "fbf623a08092e688b0f8aa68ecf42422156cad3ad9eeb40cc0756ff1d083ca1f"}};
  for (const auto& [name, digest] : digests) {
    const auto& expected = gold()["warp"]["cases"][name];
    const Image source = synthetic(name, expected["h"], expected["w"]);
    EXPECT_EQ(sha256(align(source, points_of(expected["landmarks"])).pixels), digest) << name;
  }
}

TEST(DataAlign, IdentityKeepsTheImageAndWholeShiftsMoveIt) {
  const Image image = gradient(40, 50);
  EXPECT_EQ(warp_affine(image, {{{1, 0, 0}, {0, 1, 0}}}, 40, 50), image);
  const Image moved = warp_affine(image, {{{1, 0, 3}, {0, 1, -2}}}, 40, 50);
  EXPECT_EQ(crop(moved, 3, 0, 47, 38), crop(image, 0, 2, 47, 38));
  EXPECT_EQ(crop(moved, 0, 0, 3, 40), Image(40, 3));
  EXPECT_EQ(crop(moved, 0, 38, 50, 2), Image(2, 50));
}

// Each of the four taps is black when it lies outside, so a border pixel half-way out has half its value.
TEST(DataAlign, BordersFadeToBlack) {
  Image white(2, 2);
  std::fill(white.pixels.begin(), white.pixels.end(), 200);
  const Image out = warp_affine(white, {{{1, 0, 0.5}, {0, 1, 0.5}}}, 3, 3);
  const int expected[3][3] = {{50, 100, 50}, {100, 200, 100}, {50, 100, 50}};
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 3; ++x) EXPECT_EQ(out.row(y)[3 * x], expected[y][x]);
}

TEST(DataAlign, MapsFarOutsideAreBlackNotUndefined) {
  const Image image = gradient(20, 20);
  for (const double shift : {1e5, -1e9, 1e18, -1e300}) EXPECT_EQ(warp_affine(image, {{{1, 0, shift}, {0, 1, 0}}}, 8, 8), Image(8, 8));
  EXPECT_EQ(warp_affine(image, {{{1e-100, 0, 1}, {0, 1e-100, 1}}}, 8, 8).width, 8);
}

TEST(DataAlign, DegenerateLandmarksAndMatricesAreErrors) {
  FacePoints same, unfinite = points_of("profile"), line{};
  same.fill({50, 60});
  unfinite[2][1] = std::numeric_limits<double>::quiet_NaN();
  for (const FacePoints& points : {same, unfinite})
    EXPECT_NE(error_of([&] { similarity(points); }).find("five distinct finite"), std::string::npos);
  for (size_t i = 0; i < 5; ++i) line[i][0] = double(i);  // unusual but solvable
  EXPECT_EQ(error_of([&] { similarity(line); }), "");
  const double inf = std::numeric_limits<double>::infinity();
  for (const Affine& m : {Affine{}, Affine{{{1, 2, 0}, {2, 4, 0}}}, Affine{{{1, 0, inf}, {0, 1, 0}}}, Affine{{{inf, 0, 0}, {0, 1, 0}}}})
    EXPECT_NE(error_of([&] { warp_affine(gradient(9, 9), m, 8, 8); }).find("invertible"), std::string::npos);
}

TEST(DataAlign, LandmarkFilesAreReadAndDamageIsNamed) {
  const Scratch scratch;
  const std::string good = "B/b.jpg 1 2 3 4 5 6 7 8 9 10\r\nA/a.jpg\t-1.5 2e1 3 4 5 6 7 8 9 10.25\n";
  const Landmarks landmarks = read_landmarks(scratch.write("good", good));
  ASSERT_EQ(landmarks.size(), 2u);
  EXPECT_EQ(landmarks.begin()->first, "A/a.jpg");
  EXPECT_EQ(landmarks.at("A/a.jpg"), (FacePoints{{{-1.5, 20}, {3, 4}, {5, 6}, {7, 8}, {9, 10.25}}}));

  const auto error = [&](const std::string& text) { return error_of([&] { read_landmarks(scratch.write("bad", text)); }); };
  EXPECT_NE(error(good + "c.jpg 1 2 3\n").find("bad:3: 4 fields, 11 expected"), std::string::npos);
  EXPECT_NE(error(good + "\n").find("bad:3: 0 fields"), std::string::npos);
  EXPECT_NE(error("a 1 2 3 4 5 6 7 8 9 10 11\n").find("bad:1: 12 fields"), std::string::npos);
  EXPECT_NE(error("a 1 2 3 x4 5 6 7 8 9 10\n").find("bad:1: field 5 is 'x4', a number expected"), std::string::npos);
  EXPECT_NE(error("a 1 2 3 4 5 6 7 8 9 10,5\n").find("field 11"), std::string::npos);
  EXPECT_NE(error("a 1 2 nan 4 5 6 7 8 9 10\n").find("field 4 is 'nan', a finite number expected"), std::string::npos);
  EXPECT_NE(error(good + good).find("bad:3: 'B/b.jpg' appears a second time"), std::string::npos);
  const std::string lengthy = std::string(5000, 'x') + " 1 2 3 4 5 6 7 8 9 10\n";
  EXPECT_LT(error(lengthy + lengthy).size(), 500u);  // fields in messages are cut
  EXPECT_NE(error("").find("bad: empty"), std::string::npos);
  EXPECT_NE(error_of([&] { read_landmarks(scratch / "none"); }).find("none: cannot be opened: No such file"), std::string::npos);
  EXPECT_NE(error_of([&] { read_landmarks(scratch.path.string()); }), "");
}

}  // namespace
}  // namespace vitrine::data
