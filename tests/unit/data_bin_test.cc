// InsightFace's .bin: check 9, every encoding that packers have used, and files that must be refused.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/bin_set.h"
#include "data/codec.h"
#include "eval/verify.h"
#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

using namespace std::string_literals;

TEST(BinSet, GoldenFilesHoldTheSameImages) {
  const auto manifest = nlohmann::json::parse(read_file(golden("data/bin/manifest.json")));
  for (const char* name : {"p2_py2str", "p2_py3bytes", "p3_bytes", "p3_ndarray_n1", "p4_bytes", "p4_npbool", "p5_bytes"}) {
    const BinSet set(golden(cat("data/bin/", name, ".bin")));
    ASSERT_EQ(set.size(), 8) << name;
    EXPECT_EQ(set.same, manifest["issame"].get<std::vector<bool>>()) << name;
    for (int i = 0; i < 8; ++i) {
      const auto& expected = manifest["images"][i];
      const std::string_view bytes = set.encoded(i);
      EXPECT_EQ(sha256({bytes.begin(), bytes.end()}), expected["jpeg_sha256"].get<std::string>()) << name << " " << i;
      if (name != "p5_bytes"s) continue;  // equal bytes decode to equal pixels
      const Image image = set.image(i);
      EXPECT_EQ((std::vector<int>{image.height, image.width, 3}), expected["shape"].get<std::vector<int>>()) << i;
      EXPECT_EQ(sha256(image.pixels), expected["rgb_sha256"].get<std::string>()) << i;
    }
  }
}

TEST(BinSet, EveryOtherEncoding) {
  for (const char* name : {"arrays_protocol5", "columns_protocol3", "flag_array", "flag_scalars", "numpy2_protocol2", "py2str",
                           "py3_protocol2", "py3_protocol3", "py3_protocol5"}) {
    const BinSet set(golden(cat("data/bin/small_", name, ".bin")));
    ASSERT_EQ(set.size(), 4) << name;
    EXPECT_EQ(set.same, (std::vector<bool>{true, false})) << name;
    const char* files[] = {"gray8", "rgb8", "gray1", "rgba8"};
    for (int i = 0; i < 4; ++i) EXPECT_EQ(set.image(i), read_image(golden(cat("data/", files[i], ".png")))) << name << " " << i;
  }
}

TEST(BinSet, PairsFollowEachOther) {
  const BinSet set(golden("data/bin/p5_bytes.bin"));
  const eval::PairList list = eval::consecutive_pairs("p5", set.same);
  ASSERT_EQ(int64_t(list.images.size()), set.size());
  EXPECT_EQ(list.pairs[3].a, 6);
  EXPECT_EQ(list.pairs[3].b, 7);
  EXPECT_FALSE(list.pairs[3].same);
  EXPECT_EQ(list.folds, 0);  // ten contiguous ones
}

std::string error(const std::string& body) {
  return error_of([&] { BinSet("\x80\x03" + body + ".", "f.bin"); });
}

TEST(BinSet, OtherPicklesAreRefused) {
  EXPECT_EQ(error("](C\1aC\1be]\x88\x61\x86"), "");
  const std::pair<std::string, std::string> cases[] = {
      {"]", "f.bin: a pickle of (images, same) expected"},
      {"NN\x86", "a list of images expected"},
      {"](C\1aNe]\x88\x61\x86", "image 1: neither bytes nor an array of uint8"},
      {"](C\1aC\1be]N\x61\x86", "pair 0: a bool expected"},
      {"](C\1aC\1be](\x88\x88\x65\x86", "2 images and 2 pairs"},
      {"](C\1aC\1bC\1ce]\x88\x61\x86", "3 images and 1 pairs"},
      {"]]\x86", "0 images and 0 pairs"},
      {"cos\nsystem\n", "byte 2: global 'os system' is not allowed"},
      {"cnumpy\nload\n", "global 'numpy load' is not allowed"},
      {"cnumpy\ndtype\n(X\2\0\0\0f4\x89\x88tR"s, "dtype 'f4', expected u1 or b1"},
      {"cnumpy\nndarray\n(K\1K\1tR", "global 'numpy ndarray' cannot be called"},
      {"c_codecs\nencode\nX\2\0\0\0\xc4\x80X\6\0\0\0latin1\x86R"s, "expected text of the characters 0 to 255"},
      {"X\1\0\0\0aQ"s, "a persistent id is not allowed"},
      {"NNb", "expected a numpy array or dtype and its state"},
  };
  for (const auto& [body, text] : cases) EXPECT_NE(error(body).find(text), std::string::npos) << text << "\ngot: " << error(body);
}

TEST(BinSet, ArraysMustHaveTheirBytes) {
  const auto array = [](const std::string& shape) {
    return error("](cnumpy.core.numeric\n_frombuffer\nq\1(C\4abcdcnumpy\ndtype\n(X\2\0\0\0u1\x89\x88tR"s + shape +
                 "X\1\0\0\0CtRq\2h\2e]\x88\x61\x86"s);
  };
  EXPECT_EQ(array("K\4\x85"), "");
  EXPECT_EQ(array("K\2K\2\x86"), "");
  EXPECT_NE(array("K\3\x85").find("an array of 3 elements has 4 bytes"), std::string::npos);
  EXPECT_NE(array("K\5\x85").find("an array of 4 bytes has extent 5"), std::string::npos);
  std::string many = "(";
  for (int i = 0; i < 40; ++i) many += "K\4";
  EXPECT_NE(array(many + "t").find("too many elements"), std::string::npos);
}

// One call costs five bytes and copies its text: it must not be possible to ask for more than the file justifies.
TEST(BinSet, CopiesAreBounded) {
  std::string body = "](c_codecs\nencode\nq\1X\0\1\0\0"s + std::string(256, 'a') + "X\6\0\0\0latin1\x86q\2R"s;
  for (int i = 0; i < 100; ++i) body += "h\1h\2R";
  EXPECT_NE(error(body + "e]\x86").find("the calls make more text than the file has bytes"), std::string::npos);
}

}  // namespace
}  // namespace vitrine::data
