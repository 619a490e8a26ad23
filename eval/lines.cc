#include "eval/lines.h"

#include <algorithm>
#include <charconv>
#include <fstream>

#include "engine/core/error.h"
#include "engine/core/text.h"

namespace vitrine::eval {

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  CHECK(in, path, ": cannot be opened, expected a readable file");
  // Read in pieces, so that neither a pipe nor an endless device is asked for its size.
  std::string text;
  std::string piece(1 << 16, '\0');
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())) || in.gcount() > 0) {
    text.append(piece, 0, static_cast<size_t>(in.gcount()));
    CHECK(text.size() <= kMaxListBytes, path, ": larger than ", kMaxListBytes, " bytes, expected a list of pairs");
  }
  CHECK(!in.bad(), path, ": cannot be read, expected a regular file");
  return text;
}

int split_fields(std::string_view line, const std::string& where, std::span<std::string_view> fields) {
  constexpr std::string_view kSeparators = " \t";
  check_text(line, where);
  size_t count = 0;
  for (size_t begin = line.find_first_not_of(kSeparators); begin != line.npos;) {
    size_t end = std::min(line.find_first_of(kSeparators, begin), line.size());
    CHECK(count < fields.size(), where, "more than ", fields.size(), " fields, expected at most ", fields.size());
    CHECK(end - begin <= kMaxFieldBytes, where, "a field of ", end - begin, " bytes, expected at most ", kMaxFieldBytes);
    fields[count++] = line.substr(begin, end - begin);
    begin = line.find_first_not_of(kSeparators, end);
  }
  return static_cast<int>(count);
}

std::vector<Line> split_lines(std::string_view text, const std::string& file) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<Line> lines;
  for (int number = 1; !text.empty(); ++number) {
    size_t end = text.find('\n');
    std::string_view row = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (row.ends_with('\r')) row.remove_suffix(1);
    Line line{.number = number, .count = 0, .fields = {}};
    line.count = split_fields(row, cat(file, ":", number, ": "), line.fields);
    if (line.count > 0) lines.push_back(line);
    CHECK(lines.size() <= kMaxListLines, file, ":", number, ": more than ", kMaxListLines, " lines, expected a list of pairs");
  }
  return lines;
}

bool is_number(std::string_view field) { return !field.empty() && field.find_first_not_of("0123456789") == field.npos; }

int parse_number(std::string_view field, int low, int high, const std::string& where) {
  int value = 0;
  bool fits = is_number(field) && std::from_chars(field.data(), field.data() + field.size(), value).ec == std::errc{};
  CHECK(fits && value >= low && value <= high, where, excerpt(field), ", expected a number from ", low, " to ", high);
  return value;
}

bool is_inside(std::string_view path) {
  bool inside = !path.empty() && path.find('\\') == path.npos;
  for (size_t begin = 0; inside && begin <= path.size();) {
    size_t end = std::min(path.find('/', begin), path.size());
    std::string_view component = path.substr(begin, end - begin);
    inside = !component.empty() && component != "." && component != "..";
    begin = end + 1;
  }
  return inside;
}

void check_path(std::string_view path, const std::string& where) {
  CHECK(is_inside(path), where, excerpt(path), ", expected a relative path that stays inside its directory");
}

std::string excerpt(std::string_view text) {
  constexpr size_t kLongest = 40;
  if (text.size() <= kLongest) return cat("'", text, "'");
  size_t end = kLongest;
  while (end > 0 && is_continuation(text[end])) --end;  // never half a character
  return cat("'", text.substr(0, end), "...' (", text.size(), " bytes)");
}

}  // namespace vitrine::eval
