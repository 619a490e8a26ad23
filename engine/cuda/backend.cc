// The GPU as a Backend. One stream for all work, so a block that is freed can be handed out at once: its next user is queued behind its
// last. Copies from and to the host go through pinned memory; those from it return before they are done, those ahead have a stream of their
// own. Recorded work is a CUDA graph, whose blocks are kept from others.
#include <cstring>
#include <mutex>

#include "engine/core/device.h"
#include "engine/core/parallel.h"
#include "engine/core/private_pool.h"
#include "engine/core/queue.h"
#include "engine/cuda/fault.h"
#include "engine/cuda/library.h"
#include "engine/cuda/runtime.h"

namespace vitrine::cuda {
namespace {

constexpr int64_t kPinned = 8 << 20;  // bytes of one of the two staging blocks
constexpr int64_t kStaged = 1 << 20;  // what is read in fewer is left to the driver

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

// Between pinned memory and the caller's. One core copies less than the bus takes, so large copies are shared by all; small ones come with
// every training step, when the other cores have work.
class HostCopy {
 public:
  explicit HostCopy(int64_t bytes) : grain_(bytes >= 4 * kPinned ? kPinned / 16 : kPinned) {}
  void operator()(char* to, const char* from, int64_t bytes) const {
    parallel_for(bytes, grain_, [&](int64_t begin, int64_t end) { std::memcpy(to + begin, from + begin, end - begin); });
  }

 private:
  int64_t grain_;
};

// Two pinned blocks in turn: while the device reads or writes one, the host fills or empties the other.
class Staging {
 public:
  Staging() {
    for (Block& b : block_) {
      CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&b.bytes), kPinned));
      CUDA_CHECK(cudaEventCreateWithFlags(&b.idle, cudaEventDisableTiming));
    }
  }
  // Returns when the host's bytes may change; those of the device are there in the order of the stream.
  void to_device(char* device, const char* host, int64_t bytes, cudaStream_t to) {
    std::lock_guard lock(mutex_);
    const HostCopy copy(bytes);
    for (int64_t at = 0; at < bytes; at += kPinned) {
      Block& b = block_[next_ ^= 1];
      const int64_t part = std::min(kPinned, bytes - at);
      CUDA_CHECK(cudaEventSynchronize(b.idle));  // at once, if it was never recorded
      copy(b.bytes, host + at, part);
      CUDA_CHECK(cudaMemcpyAsync(device + at, b.bytes, part, cudaMemcpyHostToDevice, to));
      CUDA_CHECK(cudaEventRecord(b.idle, to));
    }
  }
  // Returns when the bytes are there. The stream must be the one whose copies to the device go through these blocks.
  void to_host(char* host, const char* device, int64_t bytes, cudaStream_t from) {
    std::lock_guard lock(mutex_);
    const HostCopy copy(bytes);
    const auto part = [&](int64_t at) { return std::min(kPinned, bytes - at); };
    const auto ask = [&](int64_t at) {
      if (at >= bytes) return;
      Block& b = block_[at / kPinned % 2];
      CUDA_CHECK(cudaMemcpyAsync(b.bytes, device + at, part(at), cudaMemcpyDeviceToHost, from));
      CUDA_CHECK(cudaEventRecord(b.idle, from));
    };
    ask(0), ask(kPinned);
    for (int64_t at = 0; at < bytes; at += kPinned) {
      Block& b = block_[at / kPinned % 2];
      CUDA_CHECK(cudaEventSynchronize(b.idle));
      copy(host + at, b.bytes, part(at));
      ask(at + 2 * kPinned);
    }
  }

 private:
  struct Block {
    char* bytes = nullptr;
    cudaEvent_t idle = nullptr;
  } block_[2];
  int next_ = 0;
  std::mutex mutex_;
};
Staging& staging() {  // of the stream that does the work
  static auto* s = new Staging;
  return *s;
}

void to_host(void* host, const void* device, int64_t bytes) {
  CHECK(!recording, "the host reads ", bytes, " bytes in work that is recorded");
  if (bytes >= kStaged)
    staging().to_host(static_cast<char*>(host), static_cast<const char*>(device), bytes, stream());
  else if (bytes)
    CUDA_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream()));
  wait();
}

void refuse_recording(int64_t bytes) { CHECK(!recording, "the host hands over ", bytes, " bytes in work that is recorded"); }

void from_host(void* device, const void* host, int64_t bytes) {
  refuse_recording(bytes);
  staging().to_device(static_cast<char*>(device), static_cast<const char*>(host), bytes, stream());
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
  refuse_recording(bytes);
  Ahead& a = ahead();
  CUDA_CHECK(cudaEventRecord(a.queued, stream()));  // the block's last users are in the queue, perhaps
  CUDA_CHECK(cudaStreamWaitEvent(a.stream, a.queued, 0));
  a.staging.to_device(static_cast<char*>(device), static_cast<const char*>(host), bytes, a.stream);
  CUDA_CHECK(cudaEventRecord(a.copied, a.stream));
}
void await_copies() {
  CHECK(!recording, "copies are awaited in work that is recorded");
  CUDA_CHECK(cudaStreamWaitEvent(stream(), ahead().copied, 0));
}

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
