#include "engine/cpu/kernels.h"

#include "engine/cpu/isa.h"

namespace vitrine::cpu {

const Kernels& kernels() { return isa() == Isa::avx512 ? kernels_avx512() : kernels_avx2(); }

}  // namespace vitrine::cpu
