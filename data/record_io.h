// RecordIO, MXNet's container of records (dmlc-core), and the image records in it.
// A record is u32 magic 0xced7230a, u32 (kind << 29 | length), the payload, zeros up to a multiple of 4; little-endian. Where a payload
// holds the magic at a multiple of 4, the magic is left out and the record is split there: kind 0 is whole, 1 first, 2 middle, 3 last.
// An image record begins with u32 flag, f32 label, u64 id, u64 id2; then `flag` f32 labels, which replace the one; then JPEG or PNG.
// Every function throws Error "FILE: byte N: what was expected".
#pragma once
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vitrine::data {

struct ImageRecord {
  uint32_t flag = 0;          // number of labels where it is not 0
  std::vector<float> labels;  // at least one when read
  uint64_t id = 0, id2 = 0;
  std::string bytes;  // of the image; empty in records that only describe others
};
std::string pack(const ImageRecord& record);  // `flag` as there are labels; one label needs none, unless record.flag is set
// The first `most` labels only, which the beginning of a record is enough for.
ImageRecord unpack(std::string_view payload, const std::string& where, uint32_t most = UINT32_MAX);

// Key and offset of each record, ascending by key.
using RecordIndex = std::vector<std::pair<uint64_t, uint64_t>>;

// Random access to a file of records, which stays on disk. Reading is safe from several threads.
class RecordReader {
 public:
  explicit RecordReader(const std::string& path);

  // The payload of the record whose first part begins at `offset`, or its first `most` bytes.
  std::string read(uint64_t offset, uint64_t most = UINT64_MAX) const;
  // One pass over the headers of a file without .idx: the key of a record is its image record's id. Error if a key occurs twice.
  RecordIndex scan() const;

  const std::string path;

 private:
  struct Part {
    uint32_t kind;
    uint64_t payload, length, next;
  };
  Part part(uint64_t offset) const;
  std::string bytes(uint64_t offset, uint64_t count) const;

  std::shared_ptr<const int> file_;  // closed with the last owner
  uint64_t size_ = 0;
};

// PATH.idx: lines "key<tab>offset" in any order. Error with file:line; also if a key occurs twice.
RecordIndex read_index(const std::string& path);

// Writes STEM.rec and STEM.idx, records in the order of the calls. finish() makes sure that all has reached the files.
class RecordWriter {
 public:
  explicit RecordWriter(const std::string& stem);
  void write(uint64_t key, std::string_view payload);  // shorter than 2^29 bytes
  void finish();

 private:
  void put(uint32_t kind, std::string_view part);

  std::string stem_;
  std::ofstream rec_, idx_;
  uint64_t at_ = 0;
};

}  // namespace vitrine::data
