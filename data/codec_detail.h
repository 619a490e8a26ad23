// Private to codec*.cc: calling C libraries that report failure by longjmp.
#pragma once
#include <csetjmp>
#include <cstdint>
#include <string>

#include "data/image.h"

namespace vitrine::data::detail {

struct Jump {
  std::jmp_buf target;
  char message[200] = "";  // libjpeg's JMSG_LENGTH_MAX
};

// Runs body(); false if the library jumped out of it, with the reason in jump.message. longjmp runs no destructor, so a body calls
// C functions only and creates no object that has one; what must be released lives in the caller, in objects made before.
template <class Body>
bool guarded(Jump& jump, const Body& body) {
  if (setjmp(jump.target)) return false;
  body();
  return true;
}

// Error unless both sides lie in 1 .. kMaxSide.
void check_size(int64_t width, int64_t height, const std::string& name);

Image decode_jpeg(const uint8_t* bytes, size_t size, const std::string& name);
Image decode_png(const uint8_t* bytes, size_t size, const std::string& name);

}  // namespace vitrine::data::detail
