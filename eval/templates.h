// From features of images to templates, and their comparison: IJB's 1:1 protocol as InsightFace's scripts compute it.
//   feature   F1: embedding + embedding of the mirrored image; F0: embedding. N1: as it is; N0: divided by its length. D1: times the
//             detector's score; D0: not.
//   template  sum over media of the mean of the medium's features, then unit length (zero stays zero)
//   score     dot product of two templates
// Features are f32, all sums f64 in the order of FaceList::order.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "eval/ijb.h"

namespace vitrine::eval {

struct Pooling {
  bool keep_norm = true;  // N1 of eval_ijbc.py and onnx_ijbc.py, which ijb_evals.py calls N0
  bool detector = true;   // D1
  bool flip = true;       // F1
};
std::string name(const Pooling&);  // "N1D1F1", N as in eval_ijbc.py

struct Templates {
  int64_t dim = 0;
  std::vector<double> rows;  // [templates, dim]
  int64_t size() const { return dim > 0 ? static_cast<int64_t>(rows.size()) / dim : 0; }
};

// Sums of the templates first .. last - 1, fed with their faces in the order of FaceList::order. Holds those sums and one medium.
class TemplateSums {
 public:
  TemplateSums(const FaceList&, const Pooling&, int first, int last, int64_t dim);
  // The face at `place` in the order; `mirrored` is read if the pooling flips. Error for a value that is not finite.
  void add(int64_t place, std::span<const float> embedding, std::span<const float> mirrored);
  Templates finish();  // sums, not yet of unit length; a template all of whose faces were left out is zero

 private:
  void close_medium();
  const FaceList& list_;
  Pooling pooling_;
  int first_, last_;
  Templates sums_;
  std::vector<float> feature_;
  std::vector<double> medium_;
  int64_t in_medium_ = 0;
  int template_ = -1, media_ = 0;
};

void to_unit_length(Templates&);

// Of each pair, by all threads. Every dot product is eight chains over k mod 8, added pairwise: the same bits on any machine.
std::vector<double> template_scores(const Templates& unit, std::span<const TemplatePair> pairs);
double dot(const double* a, const double* b, int64_t dim);

}  // namespace vitrine::eval
