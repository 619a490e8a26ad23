// BlockPool: freed blocks, kept by size class for the next who asks. A training step allocates what the step before it did, so after the
// first one nothing goes to the system, which on every device is slow to hand out memory and to take it back.
#pragma once
#include <bit>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace vitrine {

class BlockPool {
 public:
  explicit BlockPool(int64_t align) : align_(align) {}

  // Sizes are rounded up to eight classes per power of two, so at most 1/8 of a block is wasted.
  int64_t size_class(int64_t bytes) const {
    if (bytes <= 8 * align_) return (bytes + align_ - 1) / align_ * align_ + (bytes == 0 ? align_ : 0);
    int64_t step = int64_t{1} << (std::bit_width(static_cast<uint64_t>(bytes - 1)) - 4);
    return (bytes + step - 1) / step * step;
  }

  void* take(int64_t size) {  // a block of that size class, null if none is free
    std::lock_guard lock(mutex_);
    auto it = free_.find(size);
    if (it == free_.end() || it->second.empty()) return nullptr;
    void* p = it->second.back();
    it->second.pop_back();
    return p;
  }
  void give(void* p, int64_t size) {
    std::lock_guard lock(mutex_);
    free_[size].push_back(p);
  }
  template <class Release>
  void drain(const Release& release) {  // release(block, size) for every free block
    std::lock_guard lock(mutex_);
    for (auto& [size, blocks] : free_)
      for (void* p : blocks) release(p, size);
    free_.clear();
  }

 private:
  int64_t align_;
  std::mutex mutex_;
  std::map<int64_t, std::vector<void*>> free_;
};

}  // namespace vitrine
