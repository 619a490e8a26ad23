// What the machine can do at most, measured on all threads in use: the denominators of every "share of peak".
#pragma once
#include <cstdint>

namespace vitrine::bench {

bool& use_cpu_time();     // measure the calling thread's time on the processor instead of time on the wall (one thread only)
double fma_peak();        // f32 operations per second: multiply-adds between registers, two operations each
double code_peak();       // operations on 8-bit codes per second (VNNI), likewise; 0 on machines without
double read_bandwidth();  // bytes per second: summing memory that no cache holds

// Register loops of one instruction set; each returns the number of operations of `rounds` rounds.
int64_t fma_rounds_avx2(int64_t rounds, float* keep);
int64_t fma_rounds_avx512(int64_t rounds, float* keep);
int64_t dot_rounds_vnni(int64_t rounds, float* keep);
// Sum over n floats (a multiple of 64).
float read_all_avx2(const float*, int64_t n);
float read_all_avx512(const float*, int64_t n);

}  // namespace vitrine::bench
