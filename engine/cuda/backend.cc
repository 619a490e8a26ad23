// The GPU as a Backend. One stream for everything, so a block that is freed can be handed out at once: its next user is queued behind its
// last. Copies from the host go through pinned memory and return before they are done.
#include <cstring>
#include <mutex>

#include "engine/core/device.h"
#include "engine/core/pool.h"
#include "engine/cuda/fault.h"
#include "engine/cuda/library.h"
#include "engine/cuda/runtime.h"

namespace vitrine::cuda {
namespace {

constexpr int64_t kPinned = 8 << 20;  // bytes of one of the two staging blocks

BlockPool& pool() {
  static auto* p = new BlockPool(256);  // outlives every static tensor
  return *p;
}

void* alloc(int64_t bytes) {
  const int64_t size = pool().size_class(bytes);
  if (void* p = pool().take(size)) return p;
  void* p = nullptr;
  if (cudaMalloc(&p, size) == cudaSuccess) return p;
  cudaGetLastError();
  CUDA_CHECK(cudaStreamSynchronize(stream()));
  pool().drain([](void* unused) { cudaFree(unused); });
  CHECK(cudaMalloc(&p, size) == cudaSuccess, "out of memory: ", size, " bytes on the cuda device");
  return p;
}
void free(void* p, int64_t bytes) { pool().give(p, pool().size_class(bytes)); }

void wait() {
  CUDA_CHECK(cudaStreamSynchronize(stream()));
  throw_faults();
}

void to_host(void* host, const void* device, int64_t bytes) {
  if (bytes) CUDA_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream()));
  wait();
}

// Two pinned blocks in turn: while the device reads one, the host fills the other.
struct Staging {
  struct Block {
    char* bytes = nullptr;
    cudaEvent_t read = nullptr;
  } block[2];
  int next = 0;
  std::mutex mutex;
  Staging() {
    for (Block& b : block) {
      CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&b.bytes), kPinned));
      CUDA_CHECK(cudaEventCreateWithFlags(&b.read, cudaEventDisableTiming));
    }
  }
};

void from_host(void* device, const void* host, int64_t bytes) {
  static auto* staging = new Staging;
  std::lock_guard lock(staging->mutex);
  for (int64_t done = 0; done < bytes; done += kPinned) {
    Staging::Block& b = staging->block[staging->next ^= 1];
    const int64_t part = std::min(kPinned, bytes - done);
    CUDA_CHECK(cudaEventSynchronize(b.read));  // at once, if it was never recorded
    std::memcpy(b.bytes, static_cast<const char*>(host) + done, part);
    CUDA_CHECK(cudaMemcpyAsync(static_cast<char*>(device) + done, b.bytes, part, cudaMemcpyHostToDevice, stream()));
    CUDA_CHECK(cudaEventRecord(b.read, stream()));
  }
}

void copy(void* to, const void* from, int64_t bytes) {
  if (bytes) CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()));
}

Backend probe() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0)
    return {Backend::State::no_device,
            cat("built for CUDA, but no GPU can be used: ", error ? cudaGetErrorString(error) : "none is there")};
  cudaDeviceProp device;
  int driver = 0;
  if (cudaGetDeviceProperties(&device, 0) != cudaSuccess || cudaDriverGetVersion(&driver) != cudaSuccess)
    return {Backend::State::no_device, cat("the GPU does not answer: ", cudaGetErrorString(cudaGetLastError()))};
  const std::string what =
      cat(device.name, ", sm_", device.major, device.minor, ", driver for CUDA ", driver / 1000, ".", driver % 1000 / 10);
  return {Backend::State::ready, cat(what, "; ", libraries()), alloc, free, to_host, from_host, copy, wait};
}
BackendFor backend(Device::cuda, probe);

}  // namespace

cudaStream_t stream() {
  static cudaStream_t s = [] {
    cudaStream_t made = nullptr;
    CUDA_CHECK(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
    return made;
  }();
  return s;
}

Fault* fault() {
  static Fault* noted = [] {
    void* p = nullptr;
    CUDA_CHECK(cudaHostAlloc(&p, sizeof(Fault), cudaHostAllocMapped));
    return new (p) Fault{};
  }();
  return noted;
}

}  // namespace vitrine::cuda
