#include "tools/inference.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <iostream>
#include <utility>

#include "engine/core/parallel.h"
#include "engine/core/queue.h"
#include "engine/core/text.h"
#include "engine/graph/session.h"
#include "engine/ops/image_input.h"
#include "tools/progress.h"

namespace vitrine::tools {
namespace {

float number(const Model& m, const char* key, float otherwise) {
  auto it = m.info.find(key);
  if (it == m.info.end()) return otherwise;
  const auto v = number_from<float>(it->second);
  CHECK(v, "model info ", key, "='", it->second, "': expected a number");
  return *v;
}

}  // namespace

data::Preprocess preprocess_of(const Model& m) {
  CHECK(m.graph.inputs.size() == 1 && m.graph.outputs.size() == 1, "model: expected one input and one output");
  const Meta& in = m.graph.values[m.graph.inputs[0]].meta;
  CHECK((in.dtype == Dtype::f32 || in.dtype == Dtype::f64) && in.shape.rank() == 4 && in.shape.back() == 3, "model: input ", str(in),
        ": expected f32 or f64 N,H,W,3");
  data::Preprocess p;
  p.height = static_cast<int>(in.shape[1]), p.width = static_cast<int>(in.shape[2]);
  p.mean = number(m, "mean", p.mean), p.std = number(m, "std", p.std), p.bgr = number(m, "bgr", 0) != 0;
  p.shrink = static_cast<int>(number(m, "shrink", 1));
  return p;
}

namespace {

// A batch on its way to the device.
struct Arriving {
  data::Batch batch;
  Tensor bytes, places;  // none: there is no further batch
  std::exception_ptr failure;

  void fetch(data::Loader& loader, Device device) {
    bytes = places = {};
    try {
      if (!loader.next(batch)) return;
      bytes = copied_ahead(batch.bytes.data(), {{static_cast<int64_t>(batch.bytes.size())}, Dtype::u8, device});
      places = copied_ahead(batch.places.data(), {{batch.n, 4}, Dtype::i64, device});
    } catch (...) {
      failure = std::current_exception();  // for when it is its turn
    }
  }
};

// The cpu computes with all its threads and needs two that decode; a GPU is faster than two, and leaves the others idle.
data::LoaderOptions options_of(const data::Preprocess& p, Device device) {
  const int workers = device == Device::cpu ? 2 : std::max(2, threads());
  return {p, workers, 2 * workers};
}

}  // namespace

namespace {

// Once a process: photographs instead of crops, or crops for another template, give numbers that look like results.
void mention_cropping(const data::Batch& b, const data::Preprocess& p) {
  static std::atomic_flag said;
  const int64_t height = b.n > 0 ? b.places[1] : 0;
  if (height <= int64_t{p.height} * p.shrink || said.test_and_set()) return;
  std::cerr << "note: images of " << height << "x" << b.places[2] << " are cut about their centre to " << p.height * p.shrink << "x"
            << p.width * p.shrink << ", what the network takes; are they aligned for that (vitrine align)?\n";
}

}  // namespace

void for_each_batch(const data::Dataset& set, const data::Batches& batches, const data::Preprocess& p, Device device,
                    const BatchUser& use) {
  data::Loader loader(set, batches, options_of(p, device));
  ImageInputAttrs input;
  input.height = p.height, input.width = p.width, input.mean = p.mean, input.std = p.std, input.bgr = p.bgr, input.shrink = p.shrink;
  Arriving now, next;
  struct Drain {  // tensors outlive the copies into them
    Device device;
    ~Drain() { await_copies(device); }
  } drain{device};
  next.fetch(loader, device);
  while (true) {
    std::swap(now, next);
    if (now.failure) std::rethrow_exception(now.failure);
    if (!now.bytes) return;
    mention_cropping(now.batch, p);
    await_copies(device);
    const Tensor pixels = image_input(now.bytes, now.places, input);
    next.fetch(loader, device);  // copied while this one is used
    use(now.batch, pixels);
  }
}

data::Batches in_order(int64_t n, int64_t batch, bool flip) {
  data::Batches all;
  for (int64_t i = 0; i < n; ++i) {
    if (i % batch == 0) all.emplace_back();
    all.back().push_back({i, flip});
  }
  return all;
}

Embeddings embed(const Model& model, const data::Dataset& set, bool flip, const std::string& what, int64_t batch) {
  NoGrad quiet;
  Embeddings e;
  e.n = set.size();
  Progress progress(what, e.n);
  std::unique_ptr<Session> session;
  int64_t ready = -1;  // the session's batch
  for_each_batch(set, in_order(e.n, batch, flip), preprocess_of(model), device_of(model), [&](const data::Batch& b, const Tensor& pixels) {
    if (ready != b.n) session = std::make_unique<Session>(model.graph, model.tensors, ready = b.n);
    const Tensor& y = session->run({pixels})[0];
    CHECK(y.shape().rank() == 2 && y.dtype() == Dtype::f32, "model: output ", str(y.meta()), ": expected f32 embeddings [N,D]");
    e.dim = y.shape()[1];
    auto rows = y.values<float>();
    e.values.insert(e.values.end(), rows.begin(), rows.end());
    progress.add(b.n);
  });
  return e;
}

}  // namespace vitrine::tools
