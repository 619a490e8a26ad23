// Matrix product on the cpu: c[m][n] = op(a)[m][k] * op(b)[k][n]; a is stored [k][m] if ta, b is stored [n][k] if tb.
// THE ORDER LAW: every element of c is one chain of fused multiply-adds from +0 over k ascending, on every instruction set.
#pragma once
#include <cstdint>

namespace vitrine::cpu {

void matmul(int64_t m, int64_t n, int64_t k, const float* a, bool ta, const float* b, bool tb, float* c);
void matmul(int64_t m, int64_t n, int64_t k, const double* a, bool ta, const double* b, bool tb, double* c);

}  // namespace vitrine::cpu
