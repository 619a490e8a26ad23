#include "engine/core/queue.h"

namespace vitrine {
namespace {

Queue& registered(Device d) {
  static Queue all[kDevices];
  return all[static_cast<int>(d)];
}

}  // namespace

QueueFor::QueueFor(Device d, const Queue& q) { registered(d) = q; }
const Queue& queue_of(Device d) { return registered(d); }

Tensor copied_ahead(const void* host, const Meta& on_device) {
  Tensor t = Tensor::empty(on_device);
  const auto ahead = queue_of(on_device.device).copy_ahead;
  (ahead ? ahead : backend(on_device.device).from_host)(t.raw(), host, on_device.nbytes());
  return t;
}

void await_copies(Device d) {
  if (queue_of(d).await_copies) queue_of(d).await_copies();
}

}  // namespace vitrine
