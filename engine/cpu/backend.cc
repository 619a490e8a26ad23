// The host as a Backend, with a caching allocator: freed blocks are kept by size class and reused, because glibc hands large blocks back
// to the system and every training step would pay for their pages again.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "engine/core/device.h"
#include "engine/core/error.h"
#include "engine/core/pool.h"
#include "engine/cpu/guard.h"

namespace vitrine::cpu {
namespace {

constexpr int64_t kAlign = 64, kHuge = 2 << 20;

BlockPool& pool() {
  static auto* p = new BlockPool(kAlign);  // outlives every static tensor
  return *p;
}

void* take(int64_t bytes) {
  int64_t size = pool().size_class(bytes);
  if (void* p = pool().take(size)) return p;
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
  pool().give(p, pool().size_class(bytes));
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
