// The simulated device: a scheduler of fibers, and memory that only kernels and copies can touch.
#include "engine/cuda/sim.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <algorithm>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/device.h"
#include "engine/core/error.h"
#include "engine/core/private_pool.h"
#include "engine/core/queue.h"
#include "engine/cuda/fault.h"
#include "engine/cuda/library.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) (static_cast<void>(p), static_cast<void>(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) (static_cast<void>(p), static_cast<void>(n))
#endif

namespace vitrine::cuda {
namespace sim {

Place here;

namespace {

// ---- memory: one arena, closed but for the time of a kernel or a copy; guard bytes round every buffer --------------------------------

constexpr int64_t kArena = int64_t{1} << 36, kAlign = 256, kGuard = 256, kLarge = 64 << 10;
constexpr unsigned char kMark = 0xFF;  // as a float, NaN: what nobody wrote does not look like a number

struct Memory {
  char* base = static_cast<char*>(mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  int64_t used = 0;
  int open = 0;
  PoolSet pool{kAlign};
  std::map<char*, int64_t> live;  // buffers and their bytes
};
Memory& memory() {
  static auto* m = new Memory;  // outlives every static tensor
  return *m;
}

struct Open {
  Open() {
    if (memory().open++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  ~Open() {
    if (--memory().open == 0) protect(PROT_NONE);
  }
  Open(const Open&) = delete;
  static void protect(int how) {
    if (memory().used) mprotect(memory().base, memory().used, how);
  }
};

int64_t with_guards(int64_t bytes) { return memory().pool.size_class(bytes + 2 * kGuard); }

// Events of recorded work, in order. Allocating and freeing are among them: memory looks as if the work were done for the first time.
using Events = std::vector<std::function<void()>>;
Events* recording = nullptr;
void refuse_recording(const char* what) { CHECK(!recording, what, " in work that is recorded"); }

void mark(char* block, int64_t size, int64_t bytes) {
  Open access;
  Open::protect(PROT_READ | PROT_WRITE);  // the arena may have grown
  ASAN_UNPOISON_MEMORY_REGION(block, size);
  std::memset(block, kMark, size);
  ASAN_POISON_MEMORY_REGION(block, size);
  ASAN_UNPOISON_MEMORY_REGION(block + kGuard, bytes);
  memory().live[block + kGuard] = bytes;
}
void unmark(char* buffer, int64_t bytes) {
  memory().live.erase(buffer);
  if (bytes >= kLarge) madvise(buffer - kGuard, with_guards(bytes), MADV_DONTNEED);  // opening and closing costs time for every page
  ASAN_POISON_MEMORY_REGION(buffer, bytes);
}

void* alloc(int64_t bytes) {
  Memory& m = memory();
  const int64_t size = with_guards(bytes);
  auto* block = static_cast<char*>(m.pool.take(size));
  if (!block) {
    CHECK(m.base != MAP_FAILED && m.used + size <= kArena, "out of memory: ", size, " bytes on the simulated device");
    block = m.base + m.used;
    m.used += size + (4096 - (m.used + size) % 4096) % 4096;
    m.pool.own(block);
  }
  mark(block, size, bytes);
  if (recording) recording->push_back([=] { mark(block, size, bytes); });
  return block + kGuard;
}

void free(void* p, int64_t bytes) {
  auto* buffer = static_cast<char*>(p);
  unmark(buffer, bytes);
  const bool of_recording = memory().pool.give(buffer - kGuard, with_guards(bytes));
  if (recording && of_recording) recording->push_back([=] { unmark(buffer, bytes); });
}

// The sanitizer sees a bad access where it happens; without it, a bad write is seen here.
void check_guards([[maybe_unused]] const char* kernel) {
#ifndef __SANITIZE_ADDRESS__
  for (auto& [buffer, bytes] : memory().live)
    for (int64_t at = -kGuard; at < bytes + kGuard; at = at == -1 ? bytes : at + 1) {
      if (static_cast<unsigned char>(buffer[at]) == kMark) continue;
      std::memset(buffer - kGuard, kMark, kGuard);  // reported once
      std::memset(buffer + bytes, kMark, kGuard);
      throw Error(cat(kernel, ": wrote at byte ", at, " of a buffer of ", bytes, " bytes"));
    }
#endif
}

// ---- threads ---------------------------------------------------------------------------------------------------------------------------

constexpr int kWarp = 32, kMostThreads = 1024, kStack = 256 << 10;

struct Fiber {
  enum State : uint8_t { ready, at_block_barrier, at_meeting, done } state = ready;
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  const char* file = nullptr;  // of the barrier
  int line = 0;
  uint32_t mask = 0;  // of the meeting
  uint64_t slot = 0;  // what this lane puts in
  dim3 thread;
};

struct Block {
  std::vector<Fiber> fibers{kMostThreads};
  int threads = 0;
  Fiber* running = nullptr;
  ucontext_t scheduler;
  const char* kernel = "";
  const std::function<void()>* body = nullptr;
  std::string failure;
};
Block& block() {
  static auto* b = new Block;
  return *b;
}

[[maybe_unused]] void* scheduler_stack = nullptr;
[[maybe_unused]] const void* scheduler_bottom = nullptr;
[[maybe_unused]] size_t scheduler_size = 0;

// Both switches tell the address sanitizer which stack comes next.
void to_fiber(Fiber& f) {
  block().running = &f;
  here.thread = f.thread;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&scheduler_stack, f.stack.get(), kStack);
#endif
  swapcontext(&block().scheduler, &f.context);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(scheduler_stack, nullptr, nullptr);
#endif
}
void to_scheduler(Fiber& f) {
#ifdef __SANITIZE_ADDRESS__
  void* own = nullptr;
  __sanitizer_start_switch_fiber(f.state == Fiber::done ? nullptr : &own, scheduler_bottom, scheduler_size);
#endif
  swapcontext(&f.context, &block().scheduler);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(own, &scheduler_bottom, &scheduler_size);
#endif
}

void fiber_main() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
  Fiber& f = *block().running;
  try {
    (*block().body)();
  } catch (const std::exception& e) {
    block().failure = e.what();
  }
  f.state = Fiber::done;
  to_scheduler(f);
}

void start(Fiber& f, int rank, dim3 size) {
  if (!f.stack) f.stack = std::make_unique<char[]>(kStack);
  f.state = Fiber::ready;
  f.thread = dim3(rank % size.x, rank / size.x % size.y, rank / size.x / size.y);
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack.get();
  f.context.uc_stack.ss_size = kStack;
  f.context.uc_link = nullptr;
  makecontext(&f.context, fiber_main, 0);
}

// Lets those of a warp go on whose meeting is complete. A lane of the mask that has returned, or that meets with another mask, never comes.
bool settle_meetings(int first, int lanes) {
  Block& b = block();
  bool moved = false;
  for (int i = 0; i < lanes; ++i) {
    Fiber& f = b.fibers[first + i];
    if (f.state != Fiber::at_meeting) continue;
    bool complete = true;
    for (int k = 0; k < lanes; ++k)
      if (f.mask >> k & 1) complete &= b.fibers[first + k].state == Fiber::at_meeting && b.fibers[first + k].mask == f.mask;
    if (!complete) continue;
    for (int k = 0; k < lanes; ++k)
      if (f.mask >> k & 1) b.fibers[first + k].state = Fiber::ready;
    moved = true;
  }
  return moved;
}

void settle_barrier() {
  Block& b = block();
  const Fiber* first = nullptr;
  for (int i = 0; i < b.threads; ++i) {
    Fiber& f = b.fibers[i];
    CHECK(f.state != Fiber::at_meeting, b.kernel, ": thread ", i, " waits in a shuffle for lanes of its mask that never come");
    CHECK(f.state != Fiber::done, b.kernel, ": thread ", i, " has returned, others wait at a barrier");
    if (!first) first = &f;
    CHECK(f.line == first->line && f.file == first->file, b.kernel, ": divergent barrier: thread ", i, " waits at ", f.file, ":", f.line,
          ", thread 0 at ", first->file, ":", first->line);
  }
  for (int i = 0; i < b.threads; ++i) b.fibers[i].state = Fiber::ready;
}

// A warp runs until it waits for the block, through all meetings of its lanes: as far ahead of the others as barriers let it. Returns how
// many of its threads are done since.
int run_warp(int first, bool down) {
  Block& b = block();
  const int lanes = std::min(kWarp, b.threads - first);
  int done = 0;
  do {
    for (int i = 0; i < lanes; ++i) {
      Fiber& f = b.fibers[first + (down ? lanes - 1 - i : i)];
      if (f.state != Fiber::ready) continue;
      to_fiber(f);
      CHECK(b.failure.empty(), b.kernel, ": ", b.failure);
      done += f.state == Fiber::done;
    }
    down = !down;
  } while (settle_meetings(first, lanes));
  return done;
}

// Rounds go up and down in turn, so that code that forgot a barrier does not find a helpful order.
void run_block() {
  Block& b = block();
  const int warps = (b.threads + kWarp - 1) / kWarp;
  int done = 0;
  for (bool down = false; done < b.threads; down = !down) {
    for (int i = 0; i < warps; ++i) done += run_warp((down ? warps - 1 - i : i) * kWarp, down);
    if (done < b.threads) settle_barrier();
  }
}

void wait_as(Fiber::State state) {
  Fiber& f = *block().running;
  f.state = state;
  to_scheduler(f);
}

}  // namespace

int lane() { return static_cast<int>(block().running - block().fibers.data()) % kWarp; }

void block_barrier(const char* file, int line) {
  block().running->file = file, block().running->line = line;
  wait_as(Fiber::at_block_barrier);
}

void warp_barrier(uint32_t mask) {
  CHECK(mask >> lane() & 1, "lane ", lane(), " takes part in a warp's barrier whose mask ", mask, " does not name it");
  block().running->mask = mask;
  wait_as(Fiber::at_meeting);
}

uint64_t meet(uint32_t mask, uint64_t mine, int from) {
  Block& b = block();
  Fiber& f = *b.running;
  const int rank = static_cast<int>(&f - b.fibers.data()), first = rank - rank % kWarp, lanes = std::min(kWarp, b.threads - first);
  CHECK(mask >> lane() & 1, "lane ", lane(), " takes part in a shuffle whose mask ", mask, " does not name it");
  CHECK(from < lanes && (from < 0 || mask >> from & 1), "lane ", lane(), " asks for lane ", from, ", which is not in the mask ", mask);
  f.mask = mask, f.slot = mine;
  wait_as(Fiber::at_meeting);
  uint64_t result = 0;
  if (from >= 0) result = b.fibers[first + from].slot;
  for (int k = 0; from < 0 && k < lanes; ++k)
    if (mask >> k & 1) result |= b.fibers[first + k].slot;
  wait_as(Fiber::at_meeting);  // nobody puts in something new before all have read
  return result;
}

namespace {

void run_kernel(const char* kernel, dim3 grid, dim3 size, const std::function<void()>& body) {
  Block& b = block();
  b.threads = static_cast<int>(size.x * size.y * size.z);
  CHECK(b.threads > 0 && b.threads <= kMostThreads && grid.x && grid.y && grid.z && grid.y <= 65535 && grid.z <= 65535, kernel,
        ": no device launches ", grid.x, "x", grid.y, "x", grid.z, " blocks of ", b.threads, " threads");
  b.kernel = kernel, b.body = &body, b.failure.clear();
  here.block_dim = size, here.grid_dim = grid;
  Open access;
  for (here.block.z = 0; here.block.z < grid.z; ++here.block.z)
    for (here.block.y = 0; here.block.y < grid.y; ++here.block.y)
      for (here.block.x = 0; here.block.x < grid.x; ++here.block.x) {
        for (int i = 0; i < b.threads; ++i) start(b.fibers[i], i, size);
        run_block();
      }
  check_guards(kernel);
}

void raw_copy(void* to, const void* from, int64_t bytes) {
  Open access;
  if (bytes) std::memcpy(to, from, bytes);
}
void copy(void* to, const void* from, int64_t bytes) {
  if (recording) return recording->push_back([=] { raw_copy(to, from, bytes); });
  raw_copy(to, from, bytes);
}
void to_host(void* host, const void* device, int64_t bytes) {
  refuse_recording("the host reads");
  raw_copy(host, device, bytes);
  throw_faults();
}
void from_host(void* device, const void* host, int64_t bytes) {
  refuse_recording("the host hands over bytes");
  raw_copy(device, host, bytes);
}
void sync() {
  refuse_recording("the host waits for the device");
  throw_faults();
}

// As late as a device may make them: who does not await them reads what nobody wrote.
Events& copies() {
  static auto* c = new Events;
  return *c;
}
void copy_ahead(void* device, const void* host, int64_t bytes) {
  refuse_recording("the host hands over bytes");
  auto* from = static_cast<const char*>(host);
  copies().push_back(
      [device, pinned = std::vector<char>(from, from + bytes)] { raw_copy(device, pinned.data(), static_cast<int64_t>(pinned.size())); });
}
void await_copies() {
  refuse_recording("copies are awaited");
  for (auto& event : copies()) event();
  copies().clear();
}

class EventReplay : public Replay {
 public:
  ~EventReplay() override { memory().pool.close(blocks_); }
  void record(const std::function<void()>& work) override {
    Events events;
    recording = &events, memory().pool.enter(blocks_);
    struct Leave {
      ~Leave() { recording = nullptr, memory().pool.enter(nullptr); }
    } leave;
    work();
    recorded_.push_back(std::move(events));
  }
  void run(int recording) override {
    for (auto& event : recorded_.at(recording)) event();
  }

 private:
  BlockPool* blocks_ = memory().pool.open();
  std::vector<Events> recorded_;
};

BackendFor backend(Device::cuda, [] {
  return Backend{Backend::State::ready, "simulated on the cpu (CUDA=sim)", alloc, free, to_host, from_host, copy, sync, true};
});
QueueFor queue(Device::cuda, {copy_ahead, await_copies, []() -> std::unique_ptr<Replay> { return std::make_unique<EventReplay>(); }});

}  // namespace

void launch(const char* kernel, dim3 grid, dim3 size, const std::function<void()>& body) {
  if (recording) return recording->push_back([=] { run_kernel(kernel, grid, size, body); });
  run_kernel(kernel, grid, size, body);
}

}  // namespace sim

Fault* fault() {
  static Fault noted{};
  return &noted;
}

// No library runs on simulated CUDA.
bool cublas_matmul(int64_t, int64_t, int64_t, const float*, bool, const float*, bool, float*) { return false; }
bool cublas_matmuls(int64_t, int64_t, int64_t, int64_t, const float*, bool, const float*, bool, float*) { return false; }
bool cudnn_conv(const ConvProblem&, void*, void*, void*, const Epilogue&, Dtype, Tensor*) { return false; }
bool cublas_matmul_int8(int64_t, int64_t, int64_t, const void*, const void*, void*) { return false; }
bool cudnn_conv_int8(const ConvProblem&, void*, void*, void*) { return false; }
std::string libraries() { return "our own kernels"; }

}  // namespace vitrine::cuda
