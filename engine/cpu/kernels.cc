#include "engine/cpu/kernels.h"

#include "engine/cpu/isa.h"
#include "engine/cpu/qkernels.h"

namespace vitrine::cpu {

const Kernels& kernels() { return isa() >= Isa::avx512 ? kernels_avx512() : kernels_avx2(); }

const QKernels& qkernels() {
  switch (isa()) {
    case Isa::plain:
      return qkernels_plain();
    case Isa::avx2:
      return qkernels_avx2();
    case Isa::avx512:
      return qkernels_avx512();
    default:
      return qkernels_vnni();
  }
}

}  // namespace vitrine::cpu
