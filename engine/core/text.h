// Lines of text files from elsewhere: what they may hold.
#pragma once
#include <string>
#include <string_view>

namespace vitrine {

inline bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }  // of a character in UTF-8

// Error for what is not UTF-8, and for control bytes other than tabs. `where` ("FILE:LINE: ") begins the message.
void check_text(std::string_view line, const std::string& where);

}  // namespace vitrine
