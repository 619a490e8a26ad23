// Batches prepared ahead by worker threads while the consumer computes.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "data/dataset.h"
#include "data/sampler.h"

namespace vitrine::data {

struct Batch {
  int64_t step = -1;            // index into the list of batches
  int64_t n = 0;                // images
  std::vector<uint8_t> bytes;   // of the images as they were decoded, one after the other
  std::vector<int64_t> places;  // n, 4: where an image's bytes begin, its height, its width, 1 if it is to be mirrored
  std::vector<int64_t> labels;  // n
};

struct LoaderOptions {
  Preprocess preprocess;  // images it does not suit are errors here
  int workers = 2;        // threads, each at work on a batch of its own
  int prefetch = 4;       // batches in memory at most, not counting the consumer's
};

// Delivers the batches in order, with the same contents for any number of workers. The data set must outlive the loader; a loader may be
// destroyed at any moment, which waits for at most the images being decoded. Images drawn repeatedly: wrap the set in a CachedSet.
class Loader {
 public:
  // Error if an index is out of range, or workers or prefetch are not positive.
  Loader(const Dataset& set, Batches batches, const LoaderOptions& options = {});

  // Fills `batch` with the next step and returns true; false after the last. The vectors handed in are recycled for a later step, so a
  // loop over one Batch stops allocating. If an image cannot be read, the step that holds it is an Error naming step and image,
  // and so is every call after it. For one consumer thread.
  bool next(Batch& batch);

  int64_t steps() const { return int64_t(batches_.size()); }

 private:
  struct Slot {
    Batch batch;
    std::string error;
    bool ready = false;
  };
  void work(const std::stop_token& stop);
  void fill(int64_t step, Batch& batch, const std::stop_token& stop) const;

  const Dataset& set_;
  const Batches batches_;
  const LoaderOptions options_;

  std::mutex mutex_;  // of the four below; the contents of a slot belong to its worker until ready, then to the consumer
  std::condition_variable_any room_, ready_;
  int64_t claimed_ = 0, delivered_ = 0;  // steps taken by workers, by the consumer
  std::vector<Slot> slots_;              // step k in slots_[k % prefetch]
  std::vector<std::jthread> threads_;    // last: stopped and joined before anything they use is destroyed
};

}  // namespace vitrine::data
