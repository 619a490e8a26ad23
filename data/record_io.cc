#include "data/record_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "data/lines.h"
#include "engine/core/bytes.h"

namespace vitrine::data {
namespace {

constexpr uint32_t kMagic = 0xced7230a;
constexpr std::string_view kMagicBytes = "\x0a\x23\xd7\xce";
constexpr int kLengthBits = 29;
constexpr uint64_t kHeaderBytes = 24;  // of an image record without labels
enum Kind : uint32_t { kWhole, kFirst, kMiddle, kLast };

template <class T>
void append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

RecordIndex sorted(RecordIndex index, const std::string& path) {
  std::sort(index.begin(), index.end());
  auto twice = std::adjacent_find(index.begin(), index.end(), [](auto& a, auto& b) { return a.first == b.first; });
  CHECK(twice == index.end(), path, ": key ", twice->first, " belongs to two records, expected one");
  return index;
}

}  // namespace

std::string pack(const ImageRecord& r) {
  const bool several = r.flag > 0 || r.labels.size() != 1;
  std::string out;
  append(out, several ? uint32_t(r.labels.size()) : 0);
  append(out, several ? 0.0f : r.labels[0]);
  append(out, r.id), append(out, r.id2);
  if (several)
    for (const float label : r.labels) append(out, label);
  return out + r.bytes;
}

ImageRecord unpack(std::string_view payload, const std::string& where, uint32_t most) {
  Cursor in(payload, where);
  const auto real = [&] {
    const auto bits = uint32_t(in.number(4, "a label"));
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  };
  ImageRecord r;
  r.flag = uint32_t(in.number(4, "the flag of an image record"));
  r.labels = {real()};
  r.id = in.number(8, "an id"), r.id2 = in.number(8, "an id");
  if (r.flag > 0) {
    const uint32_t count = std::min(r.flag, most);
    if (count > in.left() / 4) in.fail(0, cat("expected ", count, " labels, found ", in.left(), " bytes"));
    r.labels.resize(count);
    for (float& label : r.labels) label = real();
  }
  r.bytes = in.take(in.left(), "an image");
  return r;
}

RecordReader::RecordReader(const std::string& path) : path(path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  CHECK(descriptor >= 0, path, ": cannot be opened: ", std::strerror(errno));
  file_ = {new int(descriptor), [](const int* file) { ::close(*file), delete file; }};
  struct stat status;
  CHECK(::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0, path, ": a file of records expected");
  size_ = uint64_t(status.st_size);
}

std::string RecordReader::bytes(uint64_t offset, uint64_t count) const {
  CHECK(offset <= size_ && count <= size_ - offset, path, ": byte ", offset, ": ", count, " bytes expected, the file has ", size_);
  std::string out(count, '\0');
  for (uint64_t have = 0; have < count;) {
    const ssize_t n = ::pread(*file_, out.data() + have, count - have, off_t(offset + have));
    if (n < 0 && errno == EINTR) continue;
    CHECK(n > 0, path, ": byte ", offset + have, ": cannot be read: ", n < 0 ? std::strerror(errno) : "the file has shrunk");
    have += uint64_t(n);
  }
  return out;
}

RecordReader::Part RecordReader::part(uint64_t offset) const {
  const std::string header = bytes(offset, 8);
  Cursor in(header, path);
  CHECK(in.number(4, "the magic number") == kMagic, path, ": byte ", offset, ": a record (magic number 0xced7230a) expected");
  const uint64_t word = in.number(4, "a length"), length = word & ((1u << kLengthBits) - 1), padded = (length + 3) / 4 * 4;
  CHECK(padded <= size_ - offset - 8, path, ": byte ", offset, ": a record of ", length, " bytes expected, the file has ", size_);
  return {uint32_t(word >> kLengthBits), offset + 8, length, offset + 8 + padded};
}

std::string RecordReader::read(uint64_t offset, uint64_t most) const {
  Part p = part(offset);
  CHECK(p.kind == kWhole || p.kind == kFirst, path, ": byte ", offset, ": the beginning of a record expected, found a part of kind ",
        p.kind);
  std::string out = bytes(p.payload, std::min(p.length, most));
  while (p.kind != kWhole && p.kind != kLast && out.size() < most) {
    const uint64_t at = p.next;
    p = part(at);
    CHECK(p.kind == kMiddle || p.kind == kLast, path, ": byte ", at, ": the next part of a record expected, found kind ", p.kind);
    out.append(kMagicBytes).append(bytes(p.payload, p.length));
  }
  return out.size() > most ? out.substr(0, most) : out;
}

RecordIndex RecordReader::scan() const {
  RecordIndex index;
  for (uint64_t at = 0; at < size_;) {
    const Part p = part(at);
    if (p.kind == kWhole || p.kind == kFirst) {
      const std::string header = read(at, kHeaderBytes);
      CHECK(header.size() == kHeaderBytes, path, ": byte ", at, ": an image record expected, found ", header.size(), " bytes");
      index.emplace_back(Cursor(header, path, 8).number(8, "an id"), at);
    }
    at = p.next;
  }
  CHECK(!index.empty(), path, ": no beginning of a record found");
  return sorted(std::move(index), path);
}

RecordIndex read_index(const std::string& path) {
  RecordIndex index;
  detail::for_each_line(path, [&](const detail::Line& line) {
    CHECK(line.fields.size() == 2, line.where(), ": ", line.fields.size(), " fields, 2 expected (key offset)");
    index.emplace_back(line.number<uint64_t>(0), line.number<uint64_t>(1));
  });
  CHECK(!index.empty(), path, ": empty, lines `key offset` expected");
  return sorted(std::move(index), path);
}

RecordWriter::RecordWriter(const std::string& stem)
    : stem_(stem), rec_(stem + ".rec", std::ios::binary | std::ios::trunc), idx_(stem + ".idx", std::ios::trunc) {
  CHECK(rec_ && idx_, stem, ".rec and .idx: cannot be created: ", std::strerror(errno));
}

void RecordWriter::write(uint64_t key, std::string_view payload) {
  CHECK(payload.size() < size_t{1} << kLengthBits, stem_, ".rec: a record of ", payload.size(), " bytes, less than 2^29 expected");
  idx_ << key << '\t' << at_ << '\n';
  uint32_t kind = kWhole;
  for (size_t i = 0; i + 4 <= payload.size(); i += 4) {
    if (!payload.substr(i).starts_with(kMagicBytes)) continue;
    put(kind == kWhole ? kFirst : kMiddle, payload.substr(0, i));
    kind = kLast;
    payload.remove_prefix(i + 4);
    i = size_t(-4);  // from the beginning of what is left, which is a multiple of 4 too
  }
  put(kind, payload);
}

void RecordWriter::put(uint32_t kind, std::string_view part) {
  std::string header;
  append(header, kMagic), append(header, kind << kLengthBits | uint32_t(part.size()));
  const size_t padding = (4 - part.size() % 4) % 4;
  rec_ << header << part << std::string(padding, '\0');
  at_ += header.size() + part.size() + padding;
}

void RecordWriter::finish() {
  rec_.close(), idx_.close();
  CHECK(rec_ && idx_, stem_, ".rec and .idx: cannot be written (disk full?)");
}

}  // namespace vitrine::data
