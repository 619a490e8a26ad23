#include "data/loader.h"

#include <exception>
#include <utility>

#include "engine/core/error.h"

namespace vitrine::data {

Loader::Loader(const Dataset& set, Batches batches, const LoaderOptions& options)
    : set_(set), batches_(std::move(batches)), options_(options) {
  CHECK(options.workers > 0 && options.prefetch > 0, "loader with ", options.workers, " workers and ", options.prefetch,
        " prefetched batches: positive numbers expected");
  for (size_t step = 0; step < batches_.size(); ++step)
    for (const Sample& sample : batches_[step])
      CHECK(sample.index >= 0 && sample.index < set.size(), "step ", step, ": image ", sample.index, " of a set of ", set.size());
  slots_.resize(options.prefetch);
  for (int i = 0; i < options.workers; ++i) threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
}

bool Loader::next(Batch& batch) {
  std::unique_lock lock(mutex_);
  if (delivered_ == steps()) return false;
  Slot& slot = slots_[delivered_ % slots_.size()];
  ready_.wait(lock, [&] { return slot.ready; });
  CHECK(slot.error.empty(), slot.error);  // the slot stays as it is: the loader ends here
  std::swap(batch, slot.batch);
  slot.ready = false;
  ++delivered_;
  room_.notify_all();
  return true;
}

void Loader::work(const std::stop_token& stop) {
  while (true) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, stop, [&] { return claimed_ == steps() || claimed_ < delivered_ + int64_t(slots_.size()); });
    if (stop.stop_requested() || claimed_ == steps()) return;
    const int64_t step = claimed_++;
    Slot& slot = slots_[step % slots_.size()];
    lock.unlock();
    try {
      fill(step, slot.batch, stop);
    } catch (const std::exception& error) {
      slot.error = error.what();
    }
    lock.lock();
    slot.ready = true;
    ready_.notify_all();
  }
}

void Loader::fill(int64_t step, Batch& batch, const std::stop_token& stop) const {
  const std::vector<Sample>& samples = batches_[step];
  batch.step = step;
  batch.n = int64_t(samples.size());
  batch.labels.resize(samples.size());
  batch.bytes.clear(), batch.places.clear();
  // A stop leaves the batch unfinished, which nobody will see: only the destructor stops workers.
  for (size_t i = 0; i < samples.size() && !stop.stop_requested(); ++i) {
    const auto& [index, flip] = samples[i];
    try {
      const Image image = set_.image(index);
      check_input(image, options_.preprocess);
      batch.places.insert(batch.places.end(), {int64_t(batch.bytes.size()), image.height, image.width, flip});
      batch.bytes.insert(batch.bytes.end(), image.pixels.begin(), image.pixels.end());
      batch.labels[i] = set_.label(index);
    } catch (const std::exception& error) {
      const std::string what = error.what(), name = set_.name(index);
      throw Error(cat("step ", step, ", ", what.find(name) == std::string::npos ? name + ": " : "", what));
    }
  }
}

}  // namespace vitrine::data
