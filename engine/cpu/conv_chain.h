// Fused convolutions in a row by strips: a thread takes some rows of an image's last output and computes, link by link, the rows that they
// need, in buffers that stay in its core's cache. Rows at the seams are computed twice. Every output is the chain that conv_fused.h states,
// whatever the strips, so the bits are those of the links one by one.
#pragma once
#include <vector>

#include "engine/cpu/conv_fused.h"

namespace vitrine::cpu {

// x of the first link, y of the last; no Winograd, a residual at the last link only. False if nothing was done: strips that are small
// enough, and enough of them, would compute too much twice, or there are no fast kernels here.
bool conv2d_chain(const std::vector<FusedConv<float>>& links);

}  // namespace vitrine::cpu
