// Text from elsewhere: what its lines may hold, and numbers in it.
#pragma once
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace vitrine {

inline bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }  // of a character in UTF-8

// Error for what is not UTF-8, and for control bytes other than tabs. `where` ("FILE:LINE: ") begins the message.
void check_text(std::string_view line, const std::string& where);

// All of the text as one number, or nothing.
template <class T>
std::optional<T> number_from(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

}  // namespace vitrine
