#include "engine/core/text.h"

#include <cstdint>

#include "engine/core/error.h"

namespace vitrine {
namespace {

// Length of the UTF-8 character at text[0], or 0 when the bytes are none. Stricter than counting continuation bytes:
// over-long forms and surrogates would give one path several spellings.
size_t utf8_length(std::string_view text) {
  uint32_t lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return 1;
  size_t length = lead >> 5 == 0x6 ? 2 : lead >> 4 == 0xE ? 3 : lead >> 3 == 0x1E ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  uint32_t code = lead & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(text[i])) return 0;
    code = code << 6 | (static_cast<uint8_t>(text[i]) & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < kSmallest[length] || code > 0x10FFFF || surrogate ? 0 : length;
}

}  // namespace

void check_text(std::string_view line, const std::string& where) {
  for (size_t i = 0; i < line.size();) {
    auto byte = static_cast<uint8_t>(line[i]);
    CHECK((byte >= 0x20 || byte == '\t') && byte != 0x7F, where, "control byte ", int{byte}, " at column ", i + 1, ", expected text");
    size_t length = utf8_length(line.substr(i));
    CHECK(length > 0, where, "byte ", int{byte}, " at column ", i + 1, " is not UTF-8, expected UTF-8 text");
    i += length;
  }
}

}  // namespace vitrine
