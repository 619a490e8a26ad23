#include "engine/cpu/matmul.h"

#include "engine/cpu/conv_reference.h"

namespace vitrine::cpu {

void matmul(int64_t m, int64_t n, int64_t k, const double* a, bool ta, const double* b, bool tb, double* c) {
  reference::matmul(m, n, k, a, ta, b, tb, c);
}
void matmul(int64_t m, int64_t n, int64_t k, const float* a, bool ta, const float* b, bool tb, float* c) {
  reference::matmul(m, n, k, a, ta, b, tb, c);
}

}  // namespace vitrine::cpu
