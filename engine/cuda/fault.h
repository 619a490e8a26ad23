// What a kernel cannot throw: the first fault that elements cause (an index out of range, say) is noted in host memory that the device
// writes, and thrown when the host next waits for the device.
#pragma once
#include <cstdint>

namespace vitrine::cuda {

struct Fault {
  enum What : int32_t { none, gather, scatter, label, range, image } what;
  int64_t value, limit;  // found; expected 0 to below. Of a range, nothing
};
Fault* fault();       // device and host see it at the same address
void throw_faults();  // Error if one is noted; forgets it. The device must be idle.

}  // namespace vitrine::cuda
