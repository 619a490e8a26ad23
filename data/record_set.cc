#include "data/record_set.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/codec.h"
#include "data/lines.h"

namespace vitrine::data {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kHeaderBytes = 24 + 2 * sizeof(float);  // of an image record with up to two labels

constexpr int64_t kRounded = 1 << 24;  // from here on an f32 may stand for the whole number beside it

// A label as the number it stands for.
int64_t whole(float label, const std::string& where) {
  CHECK(label >= 0 && label < 0x1p32f && label == std::floor(label), where, ": label ", label, ", a whole number from 0 expected");
  return int64_t(label);
}

}  // namespace

RecordIndex RecordSet::index_of(const std::string& rec_file) {
  const fs::path idx = fs::path(rec_file).replace_extension(".idx");
  return fs::exists(idx) ? read_index(idx.string()) : RecordReader(rec_file).scan();
}

RecordSet::RecordSet(const std::string& rec_file, const RecordIndex& index) : reader_(rec_file) {
  uint64_t begin = 0, end = 0;
  if (index[0].first == 0) {
    const ImageRecord header = header_of(index[0].second);
    if (header.flag == 2) {
      const std::string where = cat(rec_file, ": record 0");
      begin = uint64_t(whole(header.labels[0], where)), end = uint64_t(whole(header.labels[1], where));
      CHECK(begin > 1 && begin <= end && end <= index.size(), where, ": labels (", begin, ",", end, ") do not fit ", index.size(),
            " records");
    }
  }
  if (begin > 0) {
    for (uint64_t key = 1; key < begin; ++key) images_.emplace_back(key, offset_of(key, index));
  } else {
    images_ = index;
  }
  labels_.assign(images_.size(), -1);
  label_identities(begin, end, index);
  for (size_t i = 0; i < images_.size(); ++i)
    if (labels_[i] < 0) labels_[i] = label_of(header_of(images_[i].second), images_[i].second);
  check_property((fs::path(rec_file).parent_path() / "property").string());
}

void RecordSet::label_identities(uint64_t begin, uint64_t end, const RecordIndex& index) {
  for (uint64_t key = begin; key < end; ++key) {
    const uint64_t offset = offset_of(key, index);
    const ImageRecord record = header_of(offset);
    const std::string where = cat(reader_.path, ": record ", key);
    CHECK(record.flag == 2, where, ": ", record.labels.size(), " labels, (first, last + 1) of an identity's images expected");
    const int64_t first = whole(record.labels[0], where), last = whole(record.labels[1], where);
    CHECK(first > 0 && first <= last && last <= int64_t(begin), where, ": images ", first, " to ", last, " of ", images_.size());
    if (first == last || last >= kRounded) continue;  // the images there say themselves whose they are
    const uint64_t at = images_[first - 1].second;
    const int64_t label = label_of(header_of(at), at);
    for (int64_t image = first; image < last; ++image) {
      CHECK(labels_[image - 1] < 0, where, ": image ", image, " belongs to an identity already");
      labels_[image - 1] = label;
    }
  }
}

uint64_t RecordSet::offset_of(uint64_t key, const RecordIndex& index) const {
  if (key < index.size() && index[key].first == key) return index[key].second;  // keys from 0 without a gap, as in all large sets
  const auto it = std::lower_bound(index.begin(), index.end(), std::pair<uint64_t, uint64_t>{key, 0});
  CHECK(it != index.end() && it->first == key, reader_.path, ": no record ", key, " in its index");
  return it->second;
}

ImageRecord RecordSet::header_of(uint64_t offset) const {
  return unpack(reader_.read(offset, kHeaderBytes), cat(reader_.path, ": record at byte ", offset), 2);
}

int64_t RecordSet::label_of(const ImageRecord& record, uint64_t offset) const {
  return whole(record.labels[0], cat(reader_.path, ": record at byte ", offset));
}

Image RecordSet::image(int64_t i) const {
  const uint64_t offset = images_.at(i).second;
  const ImageRecord record = unpack(reader_.read(offset), name(i));
  CHECK(label_of(record, offset) == labels_[i], name(i), ": label ", record.labels[0], ", its identity has ", labels_[i]);
  return decode(reinterpret_cast<const uint8_t*>(record.bytes.data()), record.bytes.size(), name(i));
}

std::string RecordSet::name(int64_t i) const { return cat(reader_.path, ": record ", images_.at(i).first); }

void RecordSet::check_property(const std::string& path) const {
  if (!fs::exists(path)) return;
  detail::for_each_line(path, [&](const detail::Line& line) {
    if (line.index > 1) return;
    CHECK(!line.fields.empty(), line.where(), ": classes,height,width expected");
    detail::Line classes{line.path, line.index, {line.fields[0].substr(0, line.fields[0].find(','))}};
    const int64_t count = classes.number<int64_t>(0), highest = *std::max_element(labels_.begin(), labels_.end());
    CHECK(highest < count, line.where(), ": ", count, " classes, but ", reader_.path, " has label ", highest);
  });
}

}  // namespace vitrine::data
