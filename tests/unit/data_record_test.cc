// RecordIO and record sets: check 20 (files written by the published library), and damaged sets.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/codec.h"
#include "data/record_set.h"
#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

const std::string kFolder = golden("data/rec");

nlohmann::json golden_records() { return nlohmann::json::parse(read_file(kFolder + "/manifest.json"))["records"]; }
std::string fingerprint(const std::string& s) { return sha256({s.begin(), s.end()}); }

TEST(RecordIo, ReadsTheGoldenFile) {
  const RecordReader reader(kFolder + "/train.rec");
  const RecordIndex index = read_index(kFolder + "/train.idx");
  ASSERT_EQ(index.size(), 10u);
  for (const auto& expected : golden_records()) {
    const auto [key, offset] = index.at(expected["key"]);
    EXPECT_EQ(key, expected["key"]);
    EXPECT_EQ(offset, expected["offset"]);
    const ImageRecord record = unpack(reader.read(offset), "record");
    EXPECT_EQ(record.flag, expected["flag"]) << key;
    EXPECT_EQ(record.labels, expected["label"].get<std::vector<float>>()) << key;
    EXPECT_EQ(record.id, expected["id"]) << key;
    EXPECT_EQ(record.id2, expected["id2"]) << key;
    EXPECT_EQ(record.bytes.size(), expected["payload_len"]) << key;
    EXPECT_EQ(fingerprint(record.bytes), expected["payload_sha256"].get<std::string>())
        << key;  // of record 4 in four parts: the magic is back
  }
  EXPECT_EQ(reader.scan(), index);
}

TEST(RecordIo, ReadsTheBeginningOfARecord) {
  const RecordReader reader(kFolder + "/train.rec");
  for (const uint64_t offset : {uint64_t{0}, uint64_t{33296}})
    for (const uint64_t most : {0, 1, 28, 30, 33, 49}) EXPECT_EQ(reader.read(offset, most), reader.read(offset).substr(0, most));
}

TEST(RecordIo, WritesTheGoldenFilesAgain) {
  const Scratch scratch;
  const RecordReader reader(kFolder + "/train.rec");
  RecordWriter writer(scratch / "train");
  for (const auto& record : golden_records()) writer.write(record["key"], pack(unpack(reader.read(record["offset"]), "record")));
  writer.finish();
  EXPECT_EQ(read_file(scratch / "train.rec"), read_file(kFolder + "/train.rec"));
  EXPECT_EQ(read_file(scratch / "train.idx"), read_file(kFolder + "/train.idx"));
}

// The magic at every offset of short payloads: aligned ones are taken out, the others stay.
TEST(RecordIo, EveryPlaceOfTheMagicComesBack) {
  const Scratch scratch;
  std::vector<std::string> payloads = {""};
  for (size_t before = 0; before < 9; ++before)
    for (size_t after = 0; after < 9; ++after)
      payloads.push_back(std::string(before, 'a') + "\x0a\x23\xd7\xce\x0a\x23\xd7\xce" + std::string(after, 'b'));
  RecordWriter writer(scratch / "x");
  for (size_t i = 0; i < payloads.size(); ++i) writer.write(i, payloads[i]);
  writer.finish();
  const RecordReader reader(scratch / "x.rec");
  for (const auto& [key, offset] : read_index(scratch / "x.idx")) EXPECT_EQ(reader.read(offset), payloads[key]) << key;
}

TEST(RecordIo, DamageIsAnErrorWithItsPlace) {
  const Scratch scratch;
  const std::string whole = read_file(kFolder + "/train.rec");
  const auto error = [&](const std::string& bytes, uint64_t offset) {
    const std::string file = scratch.write("x.rec", bytes);
    return error_of([&] { RecordReader(file).read(offset); });
  };
  EXPECT_NE(error(whole, 4).find("x.rec: byte 4: a record (magic number 0xced7230a) expected"), std::string::npos);
  EXPECT_NE(error(whole, whole.size()).find("8 bytes expected, the file has 44156"), std::string::npos);
  EXPECT_NE(error(whole, UINT64_MAX - 3).find("8 bytes expected"), std::string::npos);
  EXPECT_NE(error(whole.substr(0, 100), 0).find("byte 0: a record of 8806 bytes expected, the file has 100"), std::string::npos);
  const size_t second = 33296 + 8 + 28;  // a middle part of record 4: 24 bytes of header, 4 of payload come before
  EXPECT_NE(error(whole, second).find("the beginning of a record expected, found a part of kind 2"), std::string::npos);
  EXPECT_NE(error(whole.substr(0, second), 33296).find(cat("byte ", second)), std::string::npos);
  EXPECT_NE(error_of([&] { unpack(std::string("\xff\xff\xff\xff", 4) + std::string(40, '\0'), "r"); }).find("expected 4294967295 labels"),
            std::string::npos);
  EXPECT_NE(error_of([&] { RecordReader(scratch / "none"); }).find("none: cannot be opened"), std::string::npos);
  EXPECT_NE(error_of([&] { RecordReader(scratch.path.string()); }), "");
  EXPECT_NE(error_of([&] { read_index(scratch.write("a.idx", "1\t0\n1\t8\n")); }).find("key 1 belongs to two records"), std::string::npos);
  EXPECT_NE(error_of([&] { read_index(scratch.write("a.idx", "1\t0\n2\n")); }).find("a.idx:2: 1 fields"), std::string::npos);
}

TEST(RecordSet, GoldenSetOpensAsADataset) {
  const std::unique_ptr<Dataset> set = open_dataset(kFolder);
  ASSERT_NE(dynamic_cast<RecordSet*>(set.get()), nullptr);
  EXPECT_EQ(set->size(), 6);
  EXPECT_EQ(labels(*set), (std::vector<int64_t>{0, 0, 1, 1, 1, 2}));
  EXPECT_EQ(count_identities(*set), 3);
  EXPECT_EQ(set->image(0), read_image(golden("data/q95_a.jpg")));
  EXPECT_EQ(set->image(5), read_image(golden("data/gray.jpg")));
  EXPECT_NE(error_of([&] { set->image(3); }).find("train.rec: record 4: neither JPEG nor PNG"), std::string::npos);
}

TEST(RecordSet, FoldersOfFoldersStillOpen) {
  const Scratch scratch;
  std::filesystem::create_directory(scratch / "a");
  write_image(scratch / "a/1.png", gradient(5, 6));
  EXPECT_EQ(open_dataset(scratch.path.string())->image(0), gradient(5, 6));
}

TEST(RecordSet, WithoutIndexTheFileIsScanned) {
  const Scratch scratch;
  const RecordSet set(scratch.write("train.rec", read_file(kFolder + "/train.rec")));
  EXPECT_EQ(labels(set), (std::vector<int64_t>{0, 0, 1, 1, 1, 2}));
  EXPECT_EQ(set.image(2), read_image(golden("data/q100.jpg")));
}

// Sets made here: images of the given labels from key `first`, identity records of the given ranges, record 0 if there are any.
std::string write_set(const Scratch& scratch, const std::vector<float>& labels, const std::vector<std::vector<float>>& ranges,
                      uint64_t first = 1) {
  RecordWriter writer(scratch / "train");
  const auto png = encode_png(gradient(4, 4));
  uint64_t key = first;
  for (const float label : labels) writer.write(key, pack({.labels = {label}, .id = key, .bytes = {png.begin(), png.end()}})), ++key;
  const auto begin = float(key);
  for (const auto& range : ranges) writer.write(key, pack({.labels = range, .id = key})), ++key;
  if (!ranges.empty()) writer.write(0, pack({.labels = {begin, float(key)}, .id = 0, .id2 = 1}));
  writer.finish();
  return scratch / "train.rec";
}

TEST(RecordSet, WithoutRecord0EveryRecordIsAnImage) {
  const Scratch scratch;
  for (const uint64_t first : {0, 1, 5}) {
    const RecordSet set(write_set(scratch, {4, 2, 4}, {}, first));
    EXPECT_EQ(labels(set), (std::vector<int64_t>{4, 2, 4}));
    EXPECT_EQ(set.image(2), gradient(4, 4));
    EXPECT_NE(set.name(0).find(cat("record ", first)), std::string::npos);
  }
}

TEST(RecordSet, OfSeveralLabelsTheFirstCounts) {
  const Scratch scratch;
  RecordWriter writer(scratch / "train");
  writer.write(1, pack({.labels = {3, 0.5, 7, -1}, .id = 1}));
  writer.finish();
  EXPECT_EQ(labels(RecordSet(scratch / "train.rec")), (std::vector<int64_t>{3}));
}

TEST(RecordSet, ImagesOutsideAllIdentitiesHaveTheirOwnLabel) {
  const Scratch scratch;
  EXPECT_EQ(labels(RecordSet(write_set(scratch, {7, 7, 3}, {{1, 3}, {2, 2}}))), (std::vector<int64_t>{7, 7, 3}));
}

// As in Glint360K. 2^24 + 1 is no f32: the records say that identity 2 begins with the last image of identity 1.
TEST(RecordSet, WhereF32RoundsTheBoundsOfIdentitiesImagesSayTheirLabel) {
  constexpr uint64_t kSecond = (1 << 24) - 99, kThird = (1 << 24) + 1, kBegin = kThird + 9;
  const Scratch scratch;
  const auto png = encode_png(gradient(4, 4));
  RecordWriter writer(scratch / "x");
  for (const float label : {0, 1, 2}) writer.write(uint64_t(label), pack({.labels = {label}, .bytes = {png.begin(), png.end()}}));
  writer.write(3, pack({.labels = {1, float(kSecond)}}));
  writer.write(4, pack({.labels = {float(kSecond), float(kThird)}}));
  writer.write(5, pack({.labels = {float(kThird), float(kBegin)}}));
  writer.write(6, pack({.labels = {float(kBegin), float(kBegin + 3)}}));
  writer.finish();
  const RecordIndex records = read_index(scratch / "x.idx");
  RecordIndex index{{0, records[6].second}};
  for (uint64_t key = 1; key < kBegin; ++key) index.emplace_back(key, records[key < kSecond ? 0 : key < kThird ? 1 : 2].second);
  for (uint64_t k = 0; k < 3; ++k) index.emplace_back(kBegin + k, records[3 + k].second);
  const RecordSet set(scratch / "x.rec", index);
  EXPECT_EQ(set.size(), int64_t(kBegin - 1));
  for (const uint64_t key : {kSecond - 1, kSecond, kThird - 1, kThird, kBegin - 1}) {
    EXPECT_EQ(set.label(int64_t(key - 1)), key < kSecond ? 0 : key < kThird ? 1 : 2) << key;
    EXPECT_EQ(set.image(int64_t(key - 1)), gradient(4, 4)) << key;
  }
}

TEST(RecordSet, ContradictionsAreErrors) {
  const Scratch scratch;
  const auto error = [&](const std::vector<float>& labels, const std::vector<std::vector<float>>& ranges) {
    return error_of([&] { RecordSet set(write_set(scratch, labels, ranges)); });
  };
  EXPECT_EQ(error({0, 1}, {{1, 2}, {2, 3}}), "");
  EXPECT_NE(error({0, 1}, {{1, 3}, {2, 3}}).find("record 4: image 2 belongs to an identity already"), std::string::npos);
  EXPECT_NE(error({0, 1}, {{1, 2}, {2, 4}}).find("record 4: images 2 to 4 of 2"), std::string::npos);
  EXPECT_NE(error({0, 1}, {{1, 2}, {2}}).find("record 4: 1 labels, (first, last + 1)"), std::string::npos);
  EXPECT_NE(error({0.5}, {}).find("label 0.5, a whole number from 0 expected"), std::string::npos);
  EXPECT_NE(error({-1}, {{1, 2}}).find("label -1, a whole number"), std::string::npos);

  const RecordSet mixed(write_set(scratch, {0, 1}, {{1, 3}}));  // seen when the image is read
  EXPECT_NE(error_of([&] { mixed.image(1); }).find("record 2: label 1, its identity has 0"), std::string::npos);

  write_set(scratch, {0, 1}, {{1, 2}, {2, 3}});
  scratch.write("property", "1,112,112");
  EXPECT_NE(error_of([&] { RecordSet set(scratch / "train.rec"); }).find("property:1: 1 classes, but "), std::string::npos);
  scratch.write("property", "2,112,112");
  EXPECT_EQ(error_of([&] { RecordSet set(scratch / "train.rec"); }), "");
  const std::string idx = read_file(scratch / "train.idx");
  scratch.write("train.idx", idx.substr(idx.find('\n') + 1) + "77\t0\n");  // record 1 is called 77
  EXPECT_NE(error_of([&] { RecordSet set(scratch / "train.rec"); }).find("no record 1 in its index"), std::string::npos);
}

}  // namespace
}  // namespace vitrine::data
