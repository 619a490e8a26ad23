// Device and Backend: all that the engine asks of a machine that can hold tensors.
#pragma once
#include <cstdint>
#include <string>

namespace vitrine {

enum class Device : uint8_t { cpu, cuda };
inline constexpr int kDevices = 2;
const char* name(Device);

struct Backend {
  enum class State { not_built, no_device, ready };
  State state = State::not_built;
  std::string why;  // one sentence: when not ready, what is missing; otherwise what it is
  void* (*alloc)(int64_t bytes) = nullptr;
  void (*free)(void*, int64_t bytes) = nullptr;
  void (*to_host)(void* host, const void* device, int64_t bytes) = nullptr;
  void (*from_host)(void* device, const void* host, int64_t bytes) = nullptr;
  void (*copy)(void* to, const void* from, int64_t bytes) = nullptr;
  void (*sync)() = nullptr;
  bool simulated = false;  // never chosen unless asked for
};

const Backend& backend(Device);        // Error saying why, if it is not ready
const Backend& backend_state(Device);  // never throws

// A back end registers the function that looks for its device; it is called once, at first use.
struct BackendFor {
  BackendFor(Device, Backend (*probe)());
};

}  // namespace vitrine
