// The host as a Backend, with a caching allocator: freed blocks are kept by size class and reused, because glibc hands large blocks back
// to the system and every training step would pay for their pages again.
#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "engine/core/device.h"
#include "engine/core/error.h"
#include "engine/cpu/guard.h"

namespace vitrine::cpu {
namespace {

constexpr int64_t kAlign = 64, kHuge = 2 << 20;

// Sizes are rounded up to eight classes per power of two, so at most 1/8 of a block is wasted.
int64_t size_class(int64_t bytes) {
  if (bytes <= 512) return (bytes + kAlign - 1) / kAlign * kAlign + (bytes == 0 ? kAlign : 0);
  int64_t step = int64_t{1} << (std::bit_width(static_cast<uint64_t>(bytes - 1)) - 4);
  return (bytes + step - 1) / step * step;
}

struct Pool {
  std::mutex mutex;
  std::map<int64_t, std::vector<void*>> free;  // by size class
};
Pool& pool() {
  static auto* p = new Pool;  // outlives every static tensor
  return *p;
}

void* take(int64_t bytes) {
  int64_t size = size_class(bytes);
  {
    std::lock_guard lock(pool().mutex);
    auto& list = pool().free[size];
    if (!list.empty()) {
      void* p = list.back();
      list.pop_back();
      return p;
    }
  }
  int64_t align = size >= kHuge ? kHuge : kAlign;
  void* p = std::aligned_alloc(align, (size + align - 1) / align * align);
  CHECK(p, "out of memory: ", size, " bytes on the cpu");
  if (size >= kHuge) madvise(p, size, MADV_HUGEPAGE);
  return p;
}

void give(void* p, int64_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  return std::free(p);  // so that the sanitizer sees a use after free
#endif
  std::lock_guard lock(pool().mutex);
  pool().free[size_class(bytes)].push_back(p);
}

bool guarded = false;
constexpr int64_t kGuard = 64;
constexpr unsigned char kMark = 0xA7;

void* guarded_alloc(int64_t bytes) {
  CHECK(bytes >= 0, "allocation of ", bytes, " bytes");
  if (!guarded) return take(bytes);
  auto* p = static_cast<unsigned char*>(take(bytes + 2 * kGuard));
  std::memset(p, kMark, bytes + 2 * kGuard);  // the contents too: a kernel that reads what nobody wrote gives garbage, not zeros
  return p + kGuard;
}

void guarded_free(void* data, int64_t bytes) {
  if (!guarded) return give(data, bytes);
  auto* p = static_cast<unsigned char*>(data) - kGuard;
  for (int64_t i = 0; i < kGuard; ++i)
    if (p[i] != kMark || p[kGuard + bytes + i] != kMark) ++guard_damage();
  give(p, bytes + 2 * kGuard);
}

void copy(void* to, const void* from, int64_t bytes) {
  if (bytes) std::memcpy(to, from, bytes);
}

BackendFor cpu_backend(Device::cpu,
                       [] { return Backend{Backend::State::ready, "", guarded_alloc, guarded_free, copy, copy, copy, [] {}}; });

}  // namespace

void set_guard(bool on) { guarded = on; }
int64_t& guard_damage() {
  static int64_t damaged = 0;
  return damaged;
}

}  // namespace vitrine::cpu
