// How qconv2d sums on the cuda device. The bits do not depend on it: a choice is for tests and benchmarks.
#pragma once
#include <cstdint>

namespace vitrine::quant {

// The last two by tensor cores, where the device has them; nibbles where x and w have four bits at most, else bytes.
enum class QPath : uint8_t { chosen, dp4a, bytes, nibbles };
inline QPath& qpath() {
  static QPath path = QPath::chosen;
  return path;
}

}  // namespace vitrine::quant
