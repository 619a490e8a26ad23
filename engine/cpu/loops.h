// Loops that the elementwise kernels share: dtype dispatch, and one source line compiled for several instruction sets.
#pragma once
#include <cstdint>

#include "engine/core/by_float.h"
#include "engine/core/op.h"
#include "engine/core/parallel.h"

// A function marked so is compiled for SSE2, AVX2 and AVX-512 and chosen when the program starts. Only for loops without sums across
// elements and without fma, whose bits cannot depend on the vector width. Sanitizers do not survive the resolver.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VITRINE_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define VITRINE_CLONES
#endif

namespace vitrine::cpu {

inline constexpr int64_t kGrain = 16384;  // elements per chunk of elementwise work

using vitrine::by_float;

// Rows per chunk so that a chunk holds about kGrain elements.
inline int64_t row_grain(int64_t row) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, row)); }

}  // namespace vitrine::cpu
