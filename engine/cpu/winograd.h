// The fast path of conv_fused.h's winograd.
#pragma once
#include "engine/cpu/conv_fused.h"
#include "engine/cpu/kernels.h"

namespace vitrine::cpu {

void winograd(const Kernels&, const FusedConv<float>&);

}  // namespace vitrine::cpu
