// Private to data/: text files read line by line, with errors that name file and line.
#pragma once
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/bytes.h"
#include "engine/core/error.h"
#include "engine/core/text.h"

namespace vitrine::data::detail {

struct Line {
  const std::string& path;
  int64_t index;                         // from 1
  std::vector<std::string_view> fields;  // separated by blanks and tabs

  std::string where() const { return cat(path, ":", index); }

  // Field i, all of it, as a number of type T; Error otherwise.
  template <class T>
  T number(size_t i) const {
    const auto value = number_from<T>(fields[i]);
    CHECK(value, where(), ": field ", i + 1, " is '", brief(fields[i]), "', a number expected");
    return *value;
  }
};

template <class Visit>
void for_each_line(const std::string& path, const Visit& visit) {
  constexpr std::string_view kBlank = " \t";
  constexpr size_t kLongestField = 4096;  // no path is longer
  std::ifstream in(path);
  CHECK(in, path, ": cannot be opened: ", std::strerror(errno));
  std::string text;
  for (int64_t index = 1; std::getline(in, text); ++index) {
    Line line{path, index, {}};
    std::string_view view = text;
    if (index == 1 && view.starts_with("\xEF\xBB\xBF")) view.remove_prefix(3);  // a byte order mark
    if (view.ends_with('\r')) view.remove_suffix(1);
    check_text(view, line.where() + ": ");
    for (size_t begin = view.find_first_not_of(kBlank); begin != view.npos;) {
      const size_t end = std::min(view.find_first_of(kBlank, begin), view.size());
      CHECK(end - begin <= kLongestField, line.where(), ": a field of ", end - begin, " bytes, at most ", kLongestField, " expected");
      line.fields.push_back(view.substr(begin, end - begin));
      begin = view.find_first_not_of(kBlank, end);
    }
    visit(line);
  }
  CHECK(!in.bad(), path, ": cannot be read: ", std::strerror(errno));
}

}  // namespace vitrine::data::detail
