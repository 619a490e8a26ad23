// The one way to fail: throw Error with a text that says what, where and what was expected.
// CHECK builds the text from its arguments with operator<<; nothing is evaluated while cond holds.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace vitrine {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// cat(1, " of ", 2.5) == "1 of 2.5"
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

#define CHECK(cond, ...)                                              \
  do {                                                                \
    if (!(cond)) throw ::vitrine::Error(::vitrine::cat(__VA_ARGS__)); \
  } while (0)

}  // namespace vitrine
