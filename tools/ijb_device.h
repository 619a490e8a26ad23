// IJB on a device: embeddings stay there until they are template sums, templates until they are scores. The bits are those of
// eval/templates.h.
#pragma once
#include "data/aligned_view.h"
#include "engine/core/tensor.h"
#include "eval/templates.h"

namespace vitrine::tools {

// Features of the faces at the places begin .. of the pooling order, batch by batch; then the sums of templates first .. last - 1.
class DevicePooling {
 public:
  explicit DevicePooling(const eval::Pooling& pooling) : pooling_(pooling) {}
  void add(const Tensor& embeddings);  // [n, dim] as the model gives them; with flip, the mirrored half behind the other
  eval::Templates finish(const eval::FaceList&, const data::AlignedView& faces, int first, int last) const;

 private:
  eval::Pooling pooling_;
  std::vector<Tensor> features_;
};

// In blocks of 2^25 pairs (IJB-C is half of one): the templates are copied once, pairs and scores come and go.
std::vector<double> template_scores(const eval::Templates& unit, std::span<const eval::TemplatePair> pairs, Device);

}  // namespace vitrine::tools
