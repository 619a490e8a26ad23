#include "tools/ijb_features.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "engine/core/text.h"
#include "nn/io/npy.h"
#include "nn/io/safetensors.h"
#include "tools/ijb_device.h"
#include "tools/inference.h"
#include "tools/progress.h"
#include "tools/run_record.h"

namespace vitrine::tools {
namespace {

constexpr int64_t kShardFaces = 4096;
constexpr int64_t kBatch = 32;

std::vector<data::FacePoints> landmarks(const eval::FaceList& list) {
  std::vector<data::FacePoints> all;
  for (auto& face : list.faces) {
    data::FacePoints points;
    for (int i = 0; i < 10; ++i) points[i / 2][i % 2] = face.points[i];
    all.push_back(points);
  }
  return all;
}

// Batches of the faces at the places begin .. end - 1 of the pooling order: each batch first as they are, then mirrored.
data::Batches shard_batches(const eval::FaceList& list, int64_t begin, int64_t end, bool flip) {
  data::Batches all;
  for (int64_t at = begin; at < end; at += kBatch)
    for (bool mirrored : {false, true}) {
      if (mirrored && !flip) continue;
      if (!mirrored) all.emplace_back();
      for (int64_t i = at; i < std::min(end, at + kBatch); ++i) all.back().push_back({list.order[i], mirrored});
    }
  return all;
}

struct Shard {
  int first = 0, last = 0;  // templates
};

std::vector<Shard> cut(const eval::FaceList& list) {
  std::vector<Shard> shards;
  const int templates = static_cast<int>(list.templates.size());
  for (int first = 0; first < templates;) {
    int last = first + 1;
    while (last < templates && list.starts[last] - list.starts[first] < kShardFaces) ++last;
    shards.push_back({first, last});
    first = last;
  }
  return shards;
}

PooledFaces run_shard(const Model& model, const IjbBenchmark& b, const IjbOptions& o, const data::AlignedView& faces, Shard shard,
                      Progress& progress) {
  const int64_t begin = b.faces.starts[shard.first], end = b.faces.starts[shard.last];
  const Device device = device_of(model);
  DevicePooling on_device(o.pooling);
  std::optional<eval::TemplateSums> sums;
  PooledFaces pooled;
  int64_t place = begin;
  for_each_batch(faces, shard_batches(b.faces, begin, end, o.pooling.flip), preprocess_of(model), device,
                 [&](const data::Batch& batch, const Tensor& pixels) {
                   const Tensor y = run(model.graph, model.tensors, {pixels})[0];
                   CHECK(y.shape().rank() == 2 && y.dtype() == Dtype::f32, "model: output ", str(y.meta()), ": expected f32 [N,D]");
                   const int64_t dim = y.shape()[1], n = o.pooling.flip ? batch.n / 2 : batch.n;
                   progress.add(n);
                   if (device != Device::cpu) return on_device.add(y);
                   if (!sums) sums.emplace(b.faces, o.pooling, shard.first, shard.last, dim);
                   const auto row = [&](int64_t i) { return std::span(y.data<float>() + i * dim, static_cast<size_t>(dim)); };
                   for (int64_t i = 0; i < n; ++i, ++place) {
                     if (faces.skipped(b.faces.order[place])) {
                       ++pooled.skipped;
                       continue;
                     }
                     sums->add(place, row(i), o.pooling.flip ? row(n + i) : std::span<float>{});
                   }
                 });
  if (device == Device::cpu) {
    pooled.sums = sums->finish();
    return pooled;
  }
  for (place = begin; place < end; ++place) pooled.skipped += faces.skipped(b.faces.order[place]);
  pooled.sums = on_device.finish(b.faces, faces, shard.first, shard.last);
  return pooled;
}

void save_shard(const std::string& file, const PooledFaces& shard, const std::string& fingerprint) {
  Tensor sums = Tensor::from<double>({shard.sums.size(), shard.sums.dim}, shard.sums.rows);
  io::write_safetensors(file, {{{"sums", sums}}, {{"run", fingerprint}, {"skipped", std::to_string(shard.skipped)}}});
}

// Nothing if there is no such file.
std::optional<PooledFaces> load_shard(const std::string& file, int64_t templates, const std::string& fingerprint) {
  if (!std::filesystem::exists(file)) return {};
  const io::TensorFile f = io::read_safetensors(file);
  auto text = [&](const char* key) { return f.metadata.count(key) ? f.metadata.at(key) : ""; };
  check_same_run(file, text("run"), fingerprint);
  const auto skipped = number_from<int64_t>(text("skipped"));
  CHECK(f.tensors.size() == 1 && f.tensors[0].second.dtype() == Dtype::f64 && f.tensors[0].second.shape().rank() == 2 &&
            f.tensors[0].second.shape()[0] == templates && skipped,
        file, ": expected f64 sums of ", templates, " templates, and how many images were skipped");
  const Tensor& sums = f.tensors[0].second;
  return PooledFaces{{sums.shape()[1], sums.values<double>()}, *skipped};
}

}  // namespace

PooledFaces pool_embeddings(const IjbBenchmark& b, const IjbOptions& o) {
  io::NpyRows rows(o.embeddings);
  std::optional<io::NpyRows> mirrored;
  if (!o.mirrored.empty()) mirrored.emplace(o.mirrored);
  for (const io::NpyRows* r : {static_cast<const io::NpyRows*>(&rows), static_cast<const io::NpyRows*>(mirrored ? &*mirrored : &rows)})
    CHECK(r->size() == static_cast<int64_t>(b.faces.faces.size()) && r->dim() == rows.dim(), r == &rows ? o.embeddings : o.mirrored, ": ",
          r->size(), " rows of ", r->dim(), ", expected ", b.faces.faces.size(), " of ", rows.dim(), ", a row per face of the list");
  eval::Pooling pooling = o.pooling;
  pooling.flip = mirrored.has_value();
  eval::TemplateSums sums(b.faces, pooling, 0, static_cast<int>(b.faces.templates.size()), rows.dim());
  std::vector<float> e(rows.dim()), m(mirrored ? rows.dim() : 0);
  for (size_t place = 0; place < b.faces.order.size(); ++place) {
    rows.read(b.faces.order[place], e.data());
    if (mirrored) mirrored->read(b.faces.order[place], m.data());
    sums.add(static_cast<int64_t>(place), e, m);
  }
  return {sums.finish(), 0};
}

PooledFaces pool_by_model(const Model& model, const IjbBenchmark& b, const IjbOptions& o, const std::string& fingerprint) {
  NoGrad quiet;
  CHECK(b.images, b.name, ": no images in ", b.folder, "/loose_crop, expected them or --embeddings FILE.npy");
  const data::AlignedView faces(*b.images, landmarks(b.faces), o.unreadable);
  if (!o.shards.empty()) std::filesystem::create_directories(o.shards);
  Progress progress(cat("embed ", b.name), static_cast<int64_t>(b.faces.faces.size()));
  PooledFaces all;
  for (const Shard& shard : cut(b.faces)) {
    const std::string file = o.shards.empty() ? "" : cat(o.shards, "/templates-", shard.first, ".safetensors");
    std::optional<PooledFaces> done;
    if (o.resume && !file.empty()) done = load_shard(file, shard.last - shard.first, fingerprint);
    if (done) progress.add(b.faces.starts[shard.last] - b.faces.starts[shard.first]);
    if (!done) {
      done = run_shard(model, b, o, faces, shard, progress);
      if (!file.empty()) save_shard(file, *done, fingerprint);
    }
    if (all.sums.rows.empty()) all.sums.rows.reserve(b.faces.templates.size() * static_cast<size_t>(done->sums.dim));
    all.sums.dim = done->sums.dim;
    all.sums.rows.insert(all.sums.rows.end(), done->sums.rows.begin(), done->sums.rows.end());
    all.skipped += done->skipped;
  }
  return all;
}

}  // namespace vitrine::tools
