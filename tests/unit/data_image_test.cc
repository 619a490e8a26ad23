// Images in memory: crops, mirrors, and the float input of a network.
#include "data/image.h"

#include <gtest/gtest.h>

#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

TEST(DataImage, SidesAreChecked) {
  EXPECT_NE(error_of([] { Image(0, 5); }), "");
  EXPECT_NE(error_of([] { Image(5, -1); }), "");
  EXPECT_NE(error_of([] { Image(5, kMaxSide + 1); }), "");
  EXPECT_EQ(Image(2, 3).pixels, std::vector<uint8_t>(18, 0));
}

TEST(DataImage, FlipExchangesLeftAndRightAndIsItsOwnInverse) {
  const Image image = gradient(4, 5), flipped = flip_horizontal(image);
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 5; ++x)
      for (int c = 0; c < 3; ++c) EXPECT_EQ(flipped.row(y)[3 * x + c], image.row(y)[3 * (4 - x) + c]);
  EXPECT_EQ(flip_horizontal(flipped), image);
}

TEST(DataImage, CropTakesTheNamedRectangleAndStaysInside) {
  const Image image = gradient(10, 12), part = crop(image, 3, 2, 5, 4);
  ASSERT_EQ(part.height, 4);
  ASSERT_EQ(part.width, 5);
  for (int y = 0; y < 4; ++y)
    for (int i = 0; i < 15; ++i) EXPECT_EQ(part.row(y)[i], image.row(y + 2)[i + 9]);
  EXPECT_EQ(crop(image, 0, 0, 12, 10), image);
  for (const auto& [x, y, w, h] :
       {std::array{-1, 0, 2, 2}, {0, -1, 2, 2}, {11, 0, 2, 2}, {0, 9, 2, 2}, {0, 0, 0, 2}, {1, 0, 0x7fffffff, 2}})
    EXPECT_NE(error_of([&] { crop(image, x, y, w, h); }), "");
}

TEST(DataImage, FloatsAreTheExactF32Quotients) {
  const Image image = gradient(112, 112, 3);
  for (const auto& [mean, std] : {std::pair{127.5f, 127.5f}, {127.f, 128.f}, {127.5f, 128.f}}) {
    std::vector<float> out(image.pixels.size());
    to_float(image, {.mean = mean, .std = std}, out.data());
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], (float(image.pixels[i]) - mean) / std);
  }
}

TEST(DataImage, LargerImagesAreCroppedAboutTheCentreAndThenMirrored) {
  const Image image = gradient(112, 112), part = crop(image, 8, 0, 96, 112);  // columns 8..103
  const Preprocess narrow{.width = 96}, narrow_bgr{.width = 96, .bgr = true};
  std::vector<float> direct(112 * 96 * 3), expected(direct.size());
  for (const bool flip : {false, true}) {
    to_float(image, narrow, direct.data(), flip);
    to_float(flip ? flip_horizontal(part) : part, narrow, expected.data());
    EXPECT_EQ(direct, expected);
    to_float(image, narrow_bgr, direct.data(), flip);
    for (size_t i = 0; i < direct.size(); i += 3) std::swap(expected[i], expected[i + 2]);
    EXPECT_EQ(direct, expected);
  }
  // An odd difference: one column less at the left than at the right.
  std::vector<float> value(3);
  to_float(gradient(1, 4), {.height = 1, .width = 1, .mean = 0, .std = 1}, value.data());
  EXPECT_EQ(value[0], 2);  // column 1
  to_float(gradient(4, 1), {.height = 1, .width = 1, .mean = 0, .std = 1}, value.data());
  EXPECT_EQ(value[1], 2);  // row 1
}

TEST(DataImage, SmallerImagesAndSenselessPreprocessingAreErrors) {
  std::vector<float> out(112 * 112 * 3);
  EXPECT_EQ(error_of([&] { to_float(gradient(112, 111), {}, out.data()); }),
            "image of 112x111 is smaller than the network's input of 112x112 (height x width)");
  EXPECT_NE(error_of([&] { to_float(gradient(112, 112), {.std = 0}, out.data()); }), "");
  EXPECT_NE(error_of([&] { to_float(gradient(112, 112), {.height = 0}, out.data()); }), "");
}

}  // namespace
}  // namespace vitrine::data
