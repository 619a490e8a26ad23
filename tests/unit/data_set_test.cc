// Data sets: folders, memory, parts, cache.
#include <gtest/gtest.h>

#include <atomic>

#include "data/codec.h"
#include "data/directory_set.h"
#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

// Counts what is really decoded.
struct Counting : MemorySet {
  using MemorySet::MemorySet;
  Image image(int64_t i) const override { return ++decoded, MemorySet::image(i); }
  mutable std::atomic<int> decoded = 0;
};

TEST(DataSet, DirectoriesAreListedInByteOrder) {
  const Scratch scratch;
  // '-' sorts before '/', capitals before small letters, bytes above 127 last.
  for (const std::string path :
       {"a/2.png", "a/10.JPG", "a-b/1.jpeg", "Z/x.png", "\xc3\xa9/1.png", "a/deep/1.png", "a/notes.txt", "stray.png"})
    scratch.write(path, "");
  std::filesystem::create_directory(scratch / "empty");
  const DirectorySet set(scratch.path.string());
  EXPECT_EQ(set.paths, (std::vector<std::string>{"Z/x.png", "a-b/1.jpeg", "a/10.JPG", "a/2.png", "\xc3\xa9/1.png"}));
  EXPECT_EQ(set.identities, (std::vector<std::string>{"Z", "a", "a-b", "\xc3\xa9"}));
  EXPECT_EQ(set.labels, (std::vector<int64_t>{0, 2, 1, 1, 3}));
  EXPECT_EQ(labels(set), set.labels);
  EXPECT_EQ(set.name(2), "a/10.JPG");
}

TEST(DataSet, DirectoryImagesAreRead) {
  const Scratch scratch;
  std::filesystem::create_directory(scratch / "a");
  write_image(scratch / "a/1.png", gradient(5, 6, 1));
  scratch.write("a/2.jpg", "not an image");
  const DirectorySet set(scratch.path.string());
  EXPECT_EQ(set.image(0), gradient(5, 6, 1));
  EXPECT_NE(error_of([&] { set.image(1); }).find("a/2.jpg: neither JPEG nor PNG"), std::string::npos);
}

TEST(DataSet, MissingAndEmptyDirectoriesAreErrors) {
  const Scratch scratch;
  EXPECT_NE(error_of([&] { DirectorySet(scratch / "none"); }).find("none: cannot be listed: No such file"), std::string::npos);
  EXPECT_NE(error_of([&] { DirectorySet(scratch.path.string()); }).find(": no image found"), std::string::npos);
  EXPECT_NE(error_of([&] { DirectorySet(scratch.write("file", "")); }).find("cannot be listed: Not a directory"), std::string::npos);
}

TEST(DataSet, SubsetsKeepLabelsAndNamesOfTheirSet) {
  const MemorySet set({gradient(2, 2, 0), gradient(2, 2, 1), gradient(2, 2, 2)}, {5, 6, 7});
  const SubsetView part(set, {2, 0});
  EXPECT_EQ(labels(part), (std::vector<int64_t>{7, 5}));
  EXPECT_EQ(part.image(0), set.image(2));
  EXPECT_EQ(part.name(0), "image 2");
  EXPECT_NE(error_of([&] { SubsetView(set, {3}); }), "");
  EXPECT_NE(error_of([&] { SubsetView(set, {-1}); }), "");
  EXPECT_NE(error_of([&] { MemorySet({gradient(2, 2)}, {}); }), "");
}

TEST(DataSet, CacheDecodesOnceWithinItsBytes) {
  const Counting set({gradient(2, 2, 0), gradient(2, 2, 1), gradient(2, 2, 2)}, {0, 1, 2});
  const CachedSet cached(set, 2 * 12 + 11);  // room for two of 12 bytes
  for (int round = 0; round < 3; ++round)
    for (int i = 0; i < 3; ++i) EXPECT_EQ(cached.image(i), gradient(2, 2, i));
  EXPECT_EQ(set.decoded, 1 + 1 + 3);
  EXPECT_EQ(cached.bytes(), 24);
}

}  // namespace
}  // namespace vitrine::data
