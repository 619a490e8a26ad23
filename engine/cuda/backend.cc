// The GPU as a Backend. One stream for all work, so a block that is freed can be handed out at once: its next user is queued behind its
// last. Copies from the host go through pinned memory and return before they are done; those ahead have a stream of their own. Recorded
// work is a CUDA graph, whose blocks are kept from others.
#include <cstring>
#include <mutex>

#include "engine/core/device.h"
#include "engine/core/private_pool.h"
#include "engine/core/queue.h"
#include "engine/cuda/fault.h"
#include "engine/cuda/library.h"
#include "engine/cuda/runtime.h"

namespace vitrine::cuda {
namespace {

constexpr int64_t kPinned = 8 << 20;  // bytes of one of the two staging blocks

PoolSet& pool() {
  static auto* p = new PoolSet(256);  // outlives every static tensor
  return *p;
}

thread_local bool recording = false;

void* alloc(int64_t bytes) {
  const int64_t size = pool().size_class(bytes);
  void* p = pool().take(size);
  if (p) return p;
  if (cudaMalloc(&p, size) != cudaSuccess) {
    cudaGetLastError();
    CHECK(!recording, "out of memory: ", size, " bytes on the cuda device, for recorded work");
    CUDA_CHECK(cudaStreamSynchronize(stream()));
    pool().drain([](void* unused, int64_t) { cudaFree(unused); });
    CHECK(cudaMalloc(&p, size) == cudaSuccess, "out of memory: ", size, " bytes on the cuda device");
  }
  pool().own(p);
  return p;
}
void free(void* p, int64_t bytes) { pool().give(p, pool().size_class(bytes)); }

void wait() {
  CHECK(!recording, "the host waits for the device in work that is recorded");
  CUDA_CHECK(cudaStreamSynchronize(stream()));
  throw_faults();
}

void to_host(void* host, const void* device, int64_t bytes) {
  CHECK(!recording, "the host reads ", bytes, " bytes in work that is recorded");
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
  void copy(void* device, const void* host, int64_t bytes, cudaStream_t to) {
    CHECK(!recording, "the host hands over ", bytes, " bytes in work that is recorded");
    std::lock_guard lock(mutex);
    for (int64_t done = 0; done < bytes; done += kPinned) {
      Block& b = block[next ^= 1];
      const int64_t part = std::min(kPinned, bytes - done);
      CUDA_CHECK(cudaEventSynchronize(b.read));  // at once, if it was never recorded
      std::memcpy(b.bytes, static_cast<const char*>(host) + done, part);
      CUDA_CHECK(cudaMemcpyAsync(static_cast<char*>(device) + done, b.bytes, part, cudaMemcpyHostToDevice, to));
      CUDA_CHECK(cudaEventRecord(b.read, to));
    }
  }
};

void from_host(void* device, const void* host, int64_t bytes) {
  static auto* staging = new Staging;
  staging->copy(device, host, bytes, stream());
}

struct Ahead {
  cudaStream_t stream = nullptr;
  cudaEvent_t queued = nullptr, copied = nullptr;
  Staging staging;
  Ahead() {
    CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (cudaEvent_t* e : {&queued, &copied}) CUDA_CHECK(cudaEventCreateWithFlags(e, cudaEventDisableTiming));
  }
};
Ahead& ahead() {
  static auto* a = new Ahead;
  return *a;
}

void copy_ahead(void* device, const void* host, int64_t bytes) {
  Ahead& a = ahead();
  CUDA_CHECK(cudaEventRecord(a.queued, stream()));  // the block's last users are in the queue, perhaps
  CUDA_CHECK(cudaStreamWaitEvent(a.stream, a.queued, 0));
  a.staging.copy(device, host, bytes, a.stream);
  CUDA_CHECK(cudaEventRecord(a.copied, a.stream));
}
void await_copies() { CUDA_CHECK(cudaStreamWaitEvent(stream(), ahead().copied, 0)); }

class GraphReplay : public Replay {
 public:
  ~GraphReplay() override {
    cudaStreamSynchronize(stream());
    for (cudaGraphExec_t g : graphs_) cudaGraphExecDestroy(g);
    pool().close(memory_);
  }
  void record(const std::function<void()>& work) override {
    CUDA_CHECK(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed));  // relaxed: memory may be allocated meanwhile
    pool().enter(memory_), recording = true;
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    pool().enter(nullptr), recording = false;
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream(), &graph);
    cudaGraphExec_t ready = nullptr;
    const cudaError_t made = failure || ended ? ended : cudaGraphInstantiate(&ready, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (ended || made) cudaGetLastError();
    if (failure) std::rethrow_exception(failure);
    CHECK(!made, "cuda: this work cannot be recorded: ", cudaGetErrorString(made));
    graphs_.push_back(ready);
  }
  void run(int recording) override { CUDA_CHECK(cudaGraphLaunch(graphs_.at(recording), stream())); }

 private:
  BlockPool* memory_ = pool().open();
  std::vector<cudaGraphExec_t> graphs_;
};

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
QueueFor queue(Device::cuda, {copy_ahead, await_copies, []() -> std::unique_ptr<Replay> { return std::make_unique<GraphReplay>(); }});

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
