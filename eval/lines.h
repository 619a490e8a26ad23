// Text lists split into lines and fields: what every list reader of this folder shares.
// A list is untrusted input. It is bounded in size and lines, must be UTF-8 without control bytes, and every error is one line:
//   FILE:LINE: what was found, what was expected
#pragma once
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vitrine::eval {

constexpr size_t kMaxListBytes = size_t{16} << 20;  // the largest published list has 0.6 MB
constexpr size_t kMaxListLines = 1'000'000;         // bounds the memory that a hostile list of short lines can ask for
constexpr size_t kMaxFieldBytes = 255;              // the longest file name of common file systems
constexpr int kMaxFields = 4;                       // no list known has more

struct Line {
  int number = 0;  // from 1, as editors count; blank lines count too
  int count = 0;   // fields used, 1 .. kMaxFields
  std::array<std::string_view, kMaxFields> fields;
};

// The whole file. Throws Error when it cannot be read or is longer than kMaxListBytes.
std::string read_text(const std::string& path);

// Lines of fields separated by tabs or spaces; ends "\n" and "\r\n"; a byte order mark and blank lines are skipped.
// The fields are views into `text`. `file` is the name that errors carry.
std::vector<Line> split_lines(std::string_view text, const std::string& file);

// One line's fields, checked as above, into `fields`; how many there were. Error for more than fit. `where` is "FILE:LINE: ".
int split_fields(std::string_view line, const std::string& where, std::span<std::string_view> fields);

// Decimal digits only, low <= value <= high; `where` ("FILE:LINE: ") begins the error.
int parse_number(std::string_view field, int low, int high, const std::string& where);
bool is_number(std::string_view field);

// A path that stays inside its directory: relative, '/' between components, no empty, "." or ".." component, no backslash.
bool is_inside(std::string_view path);
void check_path(std::string_view path, const std::string& where);  // Error unless is_inside

// 'text', cut to a readable length, for error messages. (Not named quoted: std::quoted would win for a std::string.)
std::string excerpt(std::string_view text);

}  // namespace vitrine::eval
