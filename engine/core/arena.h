// Arena: places in one long range of addresses. What is freed joins its free neighbours, so that the many small images of a network's end
// can become the few large ones of its beginning, which a pool by size class keeps apart. Knows offsets only.
#pragma once
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>

namespace vitrine {

class Arena {
 public:
  // The smallest free place that holds `size` bytes, the first of equals; else at the end.
  int64_t take(int64_t size) {
    std::lock_guard lock(mutex_);
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it)
      if (it->second >= size && (best == free_.end() || it->second < best->second)) best = it;
    if (best == free_.end()) return grow(size);
    const auto [at, room] = *best;
    free_.erase(best);
    if (room > size) free_[at + size] = room - size;
    return at;
  }

  void give(int64_t at, int64_t size) {
    std::lock_guard lock(mutex_);
    auto next = free_.lower_bound(at);
    if (next != free_.end() && at + size == next->first) size += next->second, next = free_.erase(next);
    if (next != free_.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == at) {
        before->second += size;
        return;
      }
    }
    free_[at] = size;
  }

  int64_t end() const {  // of all that was ever taken
    std::lock_guard lock(mutex_);
    return end_;
  }

 private:
  int64_t grow(int64_t size) {
    int64_t at = end_;
    if (!free_.empty()) {  // a free place at the end is its beginning
      auto last = std::prev(free_.end());
      if (last->first + last->second == end_) at = last->first, free_.erase(last);
    }
    end_ = at + size;
    return at;
  }

  mutable std::mutex mutex_;
  std::map<int64_t, int64_t> free_;  // place -> size; no two touch
  int64_t end_ = 0;
};

}  // namespace vitrine
