#include "engine/core/device.h"

#include <mutex>

#include "engine/core/error.h"

namespace vitrine {
namespace {
using Probe = Backend (*)();
Probe& probe(Device d) {
  static Probe probes[kDevices] = {};
  return probes[static_cast<int>(d)];
}
}  // namespace

const char* name(Device d) { return d == Device::cpu ? "cpu" : "cuda"; }

BackendFor::BackendFor(Device d, Backend (*p)()) { probe(d) = p; }

const Backend& backend_state(Device d) {
  // Leaked on purpose: buffers may be freed by destructors of static objects, after any static back end would be gone.
  static auto* once = new std::once_flag[kDevices];
  static auto* found = new Backend[kDevices];
  Backend& b = found[static_cast<int>(d)];
  std::call_once(once[static_cast<int>(d)], [&] {
    if (probe(d))
      b = probe(d)();
    else
      b.why = cat("not in this build (make CUDA=1)");
  });
  return b;
}

const Backend& backend(Device d) {
  const Backend& b = backend_state(d);
  CHECK(b.state == Backend::State::ready, "device ", name(d), ": ", b.why);
  return b;
}

}  // namespace vitrine
