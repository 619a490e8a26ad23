// What a device that works behind the host's back can do besides a Backend's calls: copies that run beside the queued work, and work that
// is recorded once and done again by one call. Where nothing is registered (the cpu) copies ahead are plain copies, and nothing is
// recorded.
#pragma once
#include <functional>
#include <memory>

#include "engine/core/tensor.h"

namespace vitrine {

class Replay {
 public:
  virtual ~Replay() = default;
  // What `work` queues is recorded, not done. Work calls operators; an Error if it waits for the device or hands it anything: then nothing
  // is recorded, but what `work` did on the host stays done. Tensors it reads from outside must keep their bytes' place until the end.
  // Memory that it takes belongs to this object; recordings share it, so they must run in the order in which they were recorded.
  virtual void record(const std::function<void()>& work) = 0;
  virtual void run(int recording) = 0;  // 0, 1, ..
};

struct Queue {
  void (*copy_ahead)(void* device, const void* host, int64_t bytes) = nullptr;  // behind what is queued now, beside what comes
  void (*await_copies)() = nullptr;                                             // what is queued from now on is behind those copies
  std::unique_ptr<Replay> (*replay)() = nullptr;
};
struct QueueFor {
  QueueFor(Device, const Queue&);
};
const Queue& queue_of(Device);

// A tensor on the device with these bytes; its elements are there after await_copies(), and it must live until then.
Tensor copied_ahead(const void* host, const Meta& on_device);
void await_copies(Device);

}  // namespace vitrine
