#include "tools/ijb_device.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "engine/core/parallel.h"
#include "engine/ops.h"
#include "engine/ops/templates.h"

namespace vitrine::tools {
namespace {

template <class T>
Tensor list(const std::vector<T>& v, Device d) {
  return Tensor::from({static_cast<int64_t>(v.size())}, v).to(d);
}

}  // namespace

void DevicePooling::add(const Tensor& y) {
  const int64_t n = y.shape()[0] / 2;
  features_.push_back(pooling_.flip ? vitrine::add(slice(y, 0, 0, n), slice(y, 0, n, 2 * n)) : y);
}

eval::Templates DevicePooling::finish(const eval::FaceList& all, const data::AlignedView& faces, int first, int last) const {
  std::vector<float> scores;
  std::vector<int64_t> used, media, templates;
  const int64_t begin = all.starts[first];
  for (int t = first; t < last; ++t) {
    templates.push_back(static_cast<int64_t>(media.size()));
    bool is_first = true;
    int medium = 0;
    for (int64_t place = all.starts[t]; place < all.starts[t + 1]; ++place) {
      const eval::Face& face = all.faces[all.order[place]];
      scores.push_back(face.score);
      if (faces.skipped(all.order[place])) continue;
      if (is_first || face.media_id != medium) media.push_back(static_cast<int64_t>(used.size()));
      is_first = false, medium = face.media_id;
      used.push_back(place - begin);
    }
  }
  templates.push_back(static_cast<int64_t>(media.size())), media.push_back(static_cast<int64_t>(used.size()));
  PoolFacesAttrs a;
  a.keep_norm = pooling_.keep_norm, a.detector = pooling_.detector;
  const Tensor features = concat(features_, 0);
  const Device d = features.device();
  const Tensor sums = pool_faces(features, list(scores, d), list(used, d), list(media, d), list(templates, d), a);
  eval::Templates t{sums.shape()[1], sums.values<double>()};
  for (size_t i = 0; i < t.rows.size(); ++i)
    CHECK(std::isfinite(t.rows[i]), "template ", all.templates[first + static_cast<int64_t>(i) / t.dim],
          ": an embedding has a value that is not finite, expected finite numbers");
  return t;
}

namespace {

// The device reads pairs as they lie in memory: the second template in the lower 31 bits, the label above it.
#ifndef __clang__  // which cannot look at bits of a field while it compiles
static_assert(std::bit_cast<std::array<uint32_t, 2>>(eval::TemplatePair{5, 6, 0}) == std::array{5u, 6u} &&
              std::bit_cast<std::array<uint32_t, 2>>(eval::TemplatePair{5, 6, 1}) == std::array{5u, 6u | 1u << 31});
#endif

// Without a tensor on the host between.
Tensor on_device(const void* host, const Meta& meta) {
  Tensor t = Tensor::empty(meta);
  backend(meta.device).from_host(t.raw(), host, meta.nbytes());
  return t;
}

// n zeros. Their pages are brought in by all threads: one thread takes longer for it than a device for the scores.
std::vector<double> zeros(size_t n) {
  constexpr int64_t kPage = 4096, kPages = 256;
  std::vector<double> v;
  v.reserve(n);
  auto* bytes = reinterpret_cast<volatile char*>(v.data());
  const auto size = static_cast<int64_t>(n * sizeof(double));
  parallel_for(size, kPage * kPages, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += kPage) bytes[at] = 0;
  });
  v.resize(n);
  return v;
}

}  // namespace

std::vector<double> template_scores(const eval::Templates& unit, std::span<const eval::TemplatePair> pairs, Device device) {
  if (device == Device::cpu) return eval::template_scores(unit, pairs);
  constexpr size_t kBlock = size_t{1} << 25;
  const Tensor rows = on_device(unit.rows.data(), {{unit.size(), unit.dim}, Dtype::f64, device});
  std::vector<double> scores;
  for (size_t begin = 0; begin < pairs.size(); begin += kBlock) {
    const auto n = static_cast<int64_t>(std::min(kBlock, pairs.size() - begin));
    const Tensor some = pair_dots(rows, on_device(&pairs[begin], {{n, 2}, Dtype::i32, device}));
    if (begin == 0) scores = zeros(pairs.size());  // while the device works
    backend(device).to_host(&scores[begin], some.raw(), some.meta().nbytes());
  }
  return scores;
}

}  // namespace vitrine::tools
