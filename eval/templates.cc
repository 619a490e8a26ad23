#include "eval/templates.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/core/chains.h"
#include "engine/core/error.h"
#include "engine/core/parallel.h"

namespace vitrine::eval {
namespace {

// One template against kTogether others: each value of the one is loaded once for all.
constexpr int kTogether = 3;
void dots(const double* one, const double* const* others, int64_t dim, double* out) {
  double sum[kTogether][kChains] = {};
  int64_t k = 0;
  for (; k + kChains <= dim; k += kChains)
    for (int j = 0; j < kTogether; ++j)
      for (int c = 0; c < kChains; ++c) sum[j][c] += one[k + c] * others[j][k + c];
  for (int j = 0; j < kTogether; ++j) {
    for (int64_t rest = k; rest < dim; ++rest) sum[j][rest - k] += one[rest] * others[j][rest];
    out[j] = join_chains(sum[j]);
  }
}

// Places of `pairs` sorted by their second template (a counting sort): pairs that share it are scored while it is in the first cache.
std::vector<int> by_second(std::span<const TemplatePair> pairs, int64_t templates) {
  std::vector<int> next(templates + 1), order(pairs.size());
  for (const TemplatePair& p : pairs) ++next[p.b + 1];
  std::partial_sum(next.begin(), next.end(), next.begin());
  for (size_t i = 0; i < pairs.size(); ++i) order[next[pairs[i].b]++] = static_cast<int>(i);
  return order;
}

void score_run(const Templates& unit, std::span<const TemplatePair> pairs, const int* places, int64_t count, double* scores) {
  const auto row = [&](int64_t t) { return unit.rows.data() + t * unit.dim; };
  for (int64_t i = 0; i < count;) {
    const uint32_t b = pairs[places[i]].b;
    int64_t run = i + 1;
    while (run < count && run < i + kTogether && pairs[places[run]].b == b) ++run;
    const double* others[kTogether];
    double out[kTogether];
    for (int64_t j = 0; j < kTogether; ++j) others[j] = row(pairs[places[std::min(i + j, run - 1)]].a);
    dots(row(b), others, unit.dim, out);
    for (int64_t j = i; j < run; ++j) scores[places[j]] = out[j - i];
    i = run;
  }
}

}  // namespace

std::string name(const Pooling& p) { return cat("N", p.keep_norm, "D", p.detector, "F", p.flip); }

TemplateSums::TemplateSums(const FaceList& list, const Pooling& pooling, int first, int last, int64_t dim)
    : list_(list), pooling_(pooling), first_(first), last_(last), feature_(dim), medium_(dim) {
  CHECK(dim > 0 && first >= 0 && first <= last && last <= static_cast<int>(list.templates.size()), "templates ", first, " to ", last,
        " of ", list.templates.size(), " with ", dim, " numbers");
  sums_.dim = dim;
  sums_.rows.assign(static_cast<size_t>(last - first) * dim, 0.0);
  template_ = first;
}

void TemplateSums::add(int64_t place, std::span<const float> embedding, std::span<const float> mirrored) {
  const Face& face = list_.faces[list_.order[place]];
  const auto dim = static_cast<size_t>(sums_.dim);
  CHECK(embedding.size() == dim && (!pooling_.flip || mirrored.size() == dim), face.name, ": ", embedding.size(), " numbers, expected ",
        dim);
  double squares = 0;
  for (size_t i = 0; i < dim; ++i) {
    feature_[i] = pooling_.flip ? embedding[i] + mirrored[i] : embedding[i];
    squares += double{feature_[i]} * double{feature_[i]};
  }
  if (!pooling_.keep_norm && squares > 0) {
    const auto length = static_cast<float>(std::sqrt(squares));
    for (float& v : feature_) v /= length;
  }
  if (pooling_.detector)
    for (float& v : feature_) v *= face.score;
  for (float v : feature_)
    CHECK(std::isfinite(v), face.name, ": a value of its embedding",
          pooling_.detector ? cat(" times the detector's score ", face.score) : "", " is not finite, expected finite numbers");

  while (place >= list_.starts[template_ + 1]) close_medium(), ++template_;
  CHECK(template_ < last_ && place >= list_.starts[template_], face.name, ": out of the order of templates");
  if (in_medium_ > 0 && face.media_id != media_) close_medium();
  media_ = face.media_id;
  for (size_t i = 0; i < dim; ++i) medium_[i] += feature_[i];
  ++in_medium_;
}

void TemplateSums::close_medium() {
  if (in_medium_ == 0) return;
  double* sum = sums_.rows.data() + (template_ - first_) * sums_.dim;
  for (int64_t i = 0; i < sums_.dim; ++i) sum[i] += medium_[i] / static_cast<double>(in_medium_);
  std::fill(medium_.begin(), medium_.end(), 0.0);
  in_medium_ = 0;
}

Templates TemplateSums::finish() {
  close_medium();
  return std::move(sums_);
}

void to_unit_length(Templates& t) {
  parallel_for(t.size(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      double* row = t.rows.data() + r * t.dim;
      const double length = std::sqrt(dot(row, row, t.dim));
      for (int64_t i = 0; length > 0 && i < t.dim; ++i) row[i] /= length;
    }
  });
}

double dot(const double* a, const double* b, int64_t dim) { return dot_in_chains(a, b, dim); }

std::vector<double> template_scores(const Templates& unit, std::span<const TemplatePair> pairs) {
  constexpr int64_t kBlock = 1 << 19, kRun = 4096;  // pairs sorted together, scored by one thread
  std::vector<double> scores(pairs.size());
  for (size_t begin = 0; begin < pairs.size(); begin += kBlock) {
    const auto block = pairs.subspan(begin, std::min<size_t>(kBlock, pairs.size() - begin));
    for (const TemplatePair& p : block)
      CHECK(p.a < unit.size() && p.b < unit.size(), "template ", std::max<uint32_t>(p.a, p.b), " of ", unit.size());
    const std::vector<int> order = by_second(block, unit.size());
    parallel_for(static_cast<int64_t>(block.size()), kRun,
                 [&](int64_t first, int64_t last) { score_run(unit, block, order.data() + first, last - first, scores.data() + begin); });
  }
  return scores;
}

}  // namespace vitrine::eval
