// Classification with angular margins: what a network is trained with where identities are known. The rows of a head's weight are class
// centres; logits are scaled cosines between embeddings and centres.
#pragma once
#include <vector>

#include "engine/graph/graph.h"
#include "engine/ops/classify.h"
#include "engine/ops/optimiser.h"

namespace vitrine::losses {

// logits = scale * margin(clamp(cos, -1, 1)), engine/ops/classify.h. InsightFace: ArcFace (1, 0.5, 0), CosFace (1, 0, 0.4), straight: its
// margins are applied outside autograd, so every logit has the gradient scale. TFace's ArcFace: falling, and the derivative.
struct Margin {
  double m1 = 1, m2 = 0.5, m3 = 0, scale = 64;
  bool straight = true, falling = false;
  double filter = 0;  // > 0: logits of other classes whose cosine exceeds it become 0, without a gradient
};
Tensor margin_logits(const Tensor& cosines, const Tensor& labels, const Margin&);  // [N,C], i64 [N] -> [N,C]

// The classes of one step of partial FC (An et al., CVPR 2022), ascending: all of `positive` and, up to `count`, others drawn uniformly;
// a function of (seed, step).
std::vector<int64_t> sampled_classes(std::vector<int64_t> positive, int64_t classes, int64_t count, uint64_t seed, uint64_t step);

struct HeadOptions {
  int64_t classes = 0, dim = 512;
  Margin margin;
  double sample_rate = 1;  // share of the classes that a step compares with
  uint64_t seed = 1;       // of the weight, N(0, 0.01^2), and of the samples
};

// Per step: loss = head(embedding, labels); g = grad(loss (+ others), {..., head.rows()}); head.step(g.back(), recipe, lr).
// Only the rows of the step's classes are read, decayed, moved and given momentum. The weight stays on the cpu, rows travel.
class Head {
 public:
  explicit Head(const HeadOptions&);
  // Mean cross-entropy of embeddings [N, dim] (not normalised). Rows labelled -1 have no class and are left out; 0 if there are no others.
  Tensor operator()(const Tensor& embedding, const std::vector<int64_t>& labels);
  const Tensor& rows() const { return rows_; }                    // of the last step's classes; the weight itself if all are
  const std::vector<int64_t>& classes() const { return index_; }  // which they are; empty: all
  void step(const Tensor& gradient, SgdAttrs recipe, double lr);  // of rows(); empty: nothing moves
  TensorMap& tensors() { return tensors_; }                       // "head.weight" [classes, dim], "head.velocity", "head.step" i64 []
  TensorMap state() const;                                        // copies of them, to resume
  void load_state(const TensorMap&);

 private:
  Tensor rows_of(const Tensor& all, Device) const;
  void put_rows(Tensor& all, const Tensor& rows) const;
  HeadOptions options_;
  TensorMap tensors_;
  Tensor rows_;
  std::vector<int64_t> index_;
};

}  // namespace vitrine::losses
