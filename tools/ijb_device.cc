#include "tools/ijb_device.h"

#include <algorithm>
#include <cmath>

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

std::vector<double> template_scores(const eval::Templates& unit, std::span<const eval::TemplatePair> pairs, Device device) {
  if (device == Device::cpu) return eval::template_scores(unit, pairs);
  constexpr size_t kBlock = 1 << 20;
  const Tensor rows = Tensor::from({unit.size(), unit.dim}, unit.rows).to(device);
  std::vector<double> scores;
  scores.reserve(pairs.size());
  for (size_t begin = 0; begin < pairs.size(); begin += kBlock) {
    std::vector<int32_t> block;
    for (const eval::TemplatePair& p : pairs.subspan(begin, std::min(kBlock, pairs.size() - begin)))
      block.push_back(static_cast<int32_t>(p.a)), block.push_back(static_cast<int32_t>(p.b));
    const auto some = pair_dots(rows, Tensor::from({static_cast<int64_t>(block.size() / 2), 2}, block).to(device)).values<double>();
    scores.insert(scores.end(), some.begin(), some.end());
  }
  return scores;
}

}  // namespace vitrine::tools
