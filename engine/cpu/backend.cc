// The host as a Backend, with a caching allocator: freed blocks are kept and reused, because glibc hands large blocks back to the system
// and every training step would pay for their pages again. Small ones by size class, large ones in an arena.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/core/arena.h"
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

int64_t whole_pages(int64_t bytes) { return (bytes + kHuge - 1) / kHuge * kHuge; }

// Blocks of huge pages in a range of addresses that is reserved once; pages come when they are touched. Without the range (a limit on
// addresses), or beyond it, blocks are the pool's.
class HugeBlocks {
 public:
  HugeBlocks() {
#ifndef __SANITIZE_ADDRESS__
    constexpr int64_t kAtLeast = int64_t{1} << 36;
    const int64_t memory = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE), wanted = std::max(kAtLeast, whole_pages(2 * memory));
    void* p = mmap(nullptr, wanted + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return;
    base_ = static_cast<char*>(p) + (-reinterpret_cast<intptr_t>(p) & (kHuge - 1)), size_ = wanted;
    madvise(base_, size_, MADV_HUGEPAGE);
#endif
  }
  void* take(int64_t bytes) {  // null: no room
    if (!base_) return nullptr;
    const int64_t size = whole_pages(bytes), at = arena_.take(size);
    if (at + size <= size_) return base_ + at;
    arena_.give(at, size);
    return nullptr;
  }
  bool give(void* p, int64_t bytes) {  // false: it is none of these
    const uintptr_t at = reinterpret_cast<uintptr_t>(p) - reinterpret_cast<uintptr_t>(base_);
    if (!base_ || at >= static_cast<uintptr_t>(size_)) return false;
    arena_.give(static_cast<int64_t>(at), whole_pages(bytes));
    return true;
  }

 private:
  char* base_ = nullptr;
  int64_t size_ = 0;
  Arena arena_;
};
HugeBlocks& huge_blocks() {
  static auto* h = new HugeBlocks;
  return *h;
}

void* take(int64_t bytes) {
  if (bytes >= kHuge)
    if (void* p = huge_blocks().take(bytes)) return p;
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
  if (bytes >= kHuge && huge_blocks().give(p, bytes)) return;
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
