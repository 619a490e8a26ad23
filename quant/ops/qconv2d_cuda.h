// How qconv2d sums on the cuda device. The bits do not depend on it: a choice is for tests and benchmarks.
#pragma once
#include <cstdint>

namespace vitrine::quant {

enum class QPath : uint8_t { chosen, dp4a, tensor_cores };  // the last where the device has them
inline QPath& qpath() {
  static QPath path = QPath::chosen;
  return path;
}

}  // namespace vitrine::quant
