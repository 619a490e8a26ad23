// Link by link: a device's caches hold no image of a batch.
#include "engine/ops/conv2d_chain.h"

namespace vitrine {
namespace {
const KernelFor chain("conv2d_chain", Device::cuda, run_by_links);
}  // namespace
}  // namespace vitrine
