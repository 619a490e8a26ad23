// Which instruction set the fast kernels use: the best one of this machine, or less when a test (or VITRINE_ISA=plain|avx2|avx512|vnni)
// asks. Every level computes the same bits; plain runs on any x86-64.
#pragma once

namespace vitrine::cpu {

enum class Isa { plain, avx2, avx512, vnni };  // vnni: AVX-512 with its byte products
Isa best_isa();                                // what the machine can do
Isa isa();                                     // what is in use
void set_isa(Isa);                             // at most best_isa()
const char* name(Isa);

}  // namespace vitrine::cpu
