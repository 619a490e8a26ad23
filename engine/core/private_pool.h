// PoolSet: a pool of blocks for all, and private ones for work that is recorded. While one is entered, this thread takes blocks for it;
// such a block returns to it whenever it is freed, so nobody else ever gets what recorded work writes to, until the private pool is closed.
#pragma once
#include <unordered_map>

#include "engine/core/pool.h"

namespace vitrine {

class PoolSet {
 public:
  explicit PoolSet(int64_t align) : align_(align), shared_(align) {}
  int64_t size_class(int64_t bytes) const { return shared_.size_class(bytes); }

  BlockPool* open() const { return new BlockPool(align_); }
  void enter(BlockPool* pool) { entered_ = pool; }  // null: none
  void close(BlockPool* pool) {                     // its blocks are everybody's from now on
    std::lock_guard lock(mutex_);
    std::erase_if(owner_, [&](const auto& block) { return block.second == pool; });
    pool->drain([&](void* p, int64_t size) { shared_.give(p, size); });
    delete pool;
  }

  void* take(int64_t size) {  // null if none is free
    void* p = entered_ ? entered_->take(size) : nullptr;
    if (!p) p = shared_.take(size);
    if (p) own(p);
    return p;
  }
  void own(void* fresh) {  // a block that take() did not give
    if (!entered_) return;
    std::lock_guard lock(mutex_);
    owner_[fresh] = entered_;
  }
  bool give(void* p, int64_t size) {  // true: back to a private pool
    std::unique_lock lock(mutex_);
    const auto it = owner_.find(p);
    BlockPool* to = it == owner_.end() ? nullptr : it->second;
    lock.unlock();
    (to ? to : &shared_)->give(p, size);
    return to != nullptr;
  }
  template <class Release>
  void drain(const Release& release) {  // of the shared pool
    shared_.drain(release);
  }

 private:
  int64_t align_;
  BlockPool shared_;
  static inline thread_local BlockPool* entered_ = nullptr;
  std::mutex mutex_;  // of the owners
  std::unordered_map<void*, BlockPool*> owner_;
};

}  // namespace vitrine
