// What tests of the cuda device share.
#pragma once
#include <gtest/gtest.h>

#include "engine/core/device.h"
#include "engine/core/mode.h"

// Skips the test where there is no device, saying why.
#define VITRINE_NEEDS_CUDA                                                                         \
  if (::vitrine::backend_state(::vitrine::Device::cuda).state != ::vitrine::Backend::State::ready) \
  GTEST_SKIP() << ::vitrine::backend_state(::vitrine::Device::cuda).why

namespace vitrine {

// While one lives, neither cuDNN nor cuBLAS is used.
struct OwnKernels {
  bool before = mode().libraries;
  OwnKernels() { mode().libraries = false; }
  ~OwnKernels() { mode().libraries = before; }
  OwnKernels(const OwnKernels&) = delete;
};

}  // namespace vitrine
