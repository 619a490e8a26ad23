// Damaged image files: cut at every length, changed at random. The decoder may return a valid image or throw Error, nothing else;
// run under ASan and UBSan (make test config=asan) this also proves that it reads and writes only its own memory.
#include <gtest/gtest.h>

#include "data/codec.h"
#include "engine/core/rng.h"
#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

std::vector<std::pair<std::string, std::vector<uint8_t>>> fixtures() {
  std::vector<std::pair<std::string, std::vector<uint8_t>>> out;
  for (const char* name : {"small.jpg", "progressive.jpg", "gray.jpg", "rgba16_interlaced.png", "palette8_transparent.png"})
    out.emplace_back(name, golden_bytes(name));
  out.emplace_back("encoded.png", encode_png(gradient(30, 40)));
  return out;
}

// True if an image came out, and then a consistent one. Any exception but Error fails the test.
bool decodes(const std::vector<uint8_t>& bytes) {
  try {
    const Image image = decode(bytes.data(), bytes.size(), "fuzz");
    EXPECT_EQ(image.pixels.size(), size_t(image.height) * image.width * 3);
    return true;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("fuzz: "), std::string::npos);
    return false;
  }
}

TEST(FuzzImages, EveryTruncationIsAnError) {
  for (const auto& [name, bytes] : fixtures()) {
    ASSERT_TRUE(decodes(bytes)) << name;
    for (size_t size = 0; size < bytes.size(); ++size)
      ASSERT_FALSE(decodes({bytes.begin(), bytes.begin() + size})) << name << " cut to " << size;
  }
}

TEST(FuzzImages, RandomChangesGiveAnImageOrAnError) {
  Philox rng(1, 0);
  for (const auto& [name, bytes] : fixtures()) {
    int survived = 0;
    for (int round = 0; round < 2000; ++round) {
      std::vector<uint8_t> changed = bytes;
      // Half of the rounds aim at the headers, where most of the decisions are made.
      const uint64_t reach = round % 2 ? changed.size() : std::min<size_t>(changed.size(), 700);
      for (uint64_t i = 0; i <= rng.below(4); ++i) changed[rng.below(reach)] = uint8_t(rng.next());
      if (round % 5 == 0) changed.erase(changed.begin() + rng.below(changed.size()));
      if (round % 7 == 0) changed.insert(changed.begin() + rng.below(changed.size()), uint8_t(rng.next()));
      survived += decodes(changed);
    }
    EXPECT_LT(survived, 2000) << name;
  }
}

}  // namespace
}  // namespace vitrine::data
