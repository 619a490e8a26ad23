// Whole files in memory, output files that appear complete or not at all, and a cursor that checks every read: what a reader of foreign
// bytes begins with.
#pragma once
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

namespace vitrine {

std::string load_bytes(const std::string& path);

// Calls `write` with a stream to a temporary file beside `path`, then renames it: nobody ever sees half a file under the final name. A
// symbolic link stays one; a device or a pipe is written to. Error with the reason.
void save_bytes(const std::string& path, const std::function<void(std::ostream&)>& write);

// For messages: a text from a file, cut to a readable length and without control characters, so that an error stays one line.
std::string brief(std::string_view text);

// Reads little-endian fields from bytes that somebody else made. Whatever is not there is an Error with file, offset and expectation.
class Cursor {
 public:
  Cursor(std::string_view bytes, std::string file, uint64_t at = 0) : bytes_(bytes), file_(std::move(file)), at_(at) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return bytes_.size() - at_; }
  const std::string& file() const { return file_; }

  std::string_view take(uint64_t n, const char* what);                     // the next n bytes
  std::string_view line(const char* what);                                 // up to '\n', which is consumed and not returned
  uint64_t number(int n, const char* what);                                // unsigned, n <= 8 bytes
  [[noreturn]] void fail(uint64_t at, const std::string& expected) const;  // Error "file: byte at: expected"

 private:
  std::string_view bytes_;
  std::string file_;
  uint64_t at_;
};

}  // namespace vitrine
