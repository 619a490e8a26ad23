#include "engine/cpu/scratch.h"

#include <cstddef>
#include <new>

namespace vitrine::cpu {
namespace {

constexpr std::align_val_t kAlign{64};

struct Block {
  void* data = nullptr;
  int64_t bytes = 0;
  ~Block() { ::operator delete(data, kAlign); }
  void* grow(int64_t wanted) {
    if (wanted > bytes) {
      ::operator delete(data, kAlign);
      data = nullptr, bytes = 0;
      data = ::operator new(static_cast<size_t>(wanted), kAlign);
      bytes = wanted;
    }
    return data;
  }
};

}  // namespace

void* scratch_bytes(Slot slot, int64_t bytes) {
  thread_local Block blocks[kSlots];
  return blocks[static_cast<int>(slot)].grow(bytes);
}

}  // namespace vitrine::cpu
