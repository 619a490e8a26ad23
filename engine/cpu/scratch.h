// Working memory of the cpu kernels: one growing buffer per thread and slot, kept for the next call, so that a steady state allocates
// nothing.
#pragma once
#include <cstdint>

namespace vitrine::cpu {

enum class Slot { weights, strip, gradient, pointers, panel, chain };
constexpr int kSlots = 6;

// At least `bytes` bytes, aligned to a cache line, contents undefined; valid until this thread asks for the slot again.
void* scratch_bytes(Slot, int64_t bytes);
inline float* scratch(Slot slot, int64_t floats) { return static_cast<float*>(scratch_bytes(slot, floats * 4)); }

}  // namespace vitrine::cpu
