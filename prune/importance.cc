#include "prune/importance.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/core/parallel.h"
#include "engine/core/rng.h"

namespace vitrine::prune {
namespace {

const std::vector<std::string> kCriteria = {"l1",     "l2",         "bn",      "lamp",  "fpgm", "fpgm-published",
                                            "taylor", "taylor-abs", "hessian", "random"};
const std::vector<std::string> kReductions = {"mean", "sum", "max", "product", "first", "last"};
const std::vector<std::string> kNormalisers = {"none", "mean", "sum", "max", "range", "gaussian", "sentinel", "lamp"};

template <class E>
E named(const std::vector<std::string>& names, const std::string& text, const char* what) {
  std::string all;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return static_cast<E>(i);
    all += (i ? ", " : "") + names[i];
  }
  throw Error(cat(what, " '", text, "': expected one of ", all));
}

bool by_gradient(Criterion c) { return c == Criterion::taylor || c == Criterion::taylor_abs || c == Criterion::hessian; }
bool by_distance(Criterion c) { return c == Criterion::fpgm || c == Criterion::fpgm_published; }

bool counts(const Importance& o, Role role) {
  const Criterion c = o.criterion;
  if (c == Criterion::bn) return role == Role::scale;
  if (role == Role::out || role == Role::in) return true;
  if (role == Role::depthwise) return !o.published;
  if (role == Role::scale) return !by_distance(c) && !(o.published && by_gradient(c) && c != Criterion::hessian);
  return role == Role::slope && by_gradient(c) && !o.published;
}

// Calls use(index along the axis, element) for every element, in order.
void for_each(const Shape& s, int axis, const std::function<void(int64_t, int64_t)>& use) {
  const int64_t inner = s.product(axis + 1, s.rank());
  for (int64_t e = 0; e < s.numel(); ++e) use(e / inner % s[axis], e);
}

class Scorer {
 public:
  Scorer(const Model& m, const Structure& s, const Importance& o, const Gradients& gradients)
      : m_(m), s_(s), o_(o), gradients_(gradients) {}

  // Scores of one group's channels.
  std::vector<double> of(const Group& group) {
    place_.assign(s_.group_of.size(), -1);
    for (size_t k = 0; k < group.channels.size(); ++k) place_[group.channels[k]] = static_cast<int>(k);
    std::vector<std::vector<double>> members;
    for (const Member& m : group.members)
      if (counts(o_, m.role)) members.push_back(by_distance(o_.criterion) ? distances(m, group) : sums(m, group));
    CHECK(!members.empty(), "importance ", kCriteria[static_cast<size_t>(o_.criterion)], ": nothing in the group of ",
          name(m_.graph, group), " counts for it");
    return reduce(members);
  }

 private:
  Tensor tensor(const Member& m) const { return m_.tensors.at(m_.graph.values[m.tensor].name).to(Dtype::f64); }
  int place(const Member& m, int64_t index) const { return place_[s_.of[m.tensor][m.axis][index]]; }

  std::vector<double> sums(const Member& m, const Group& group) const {
    const Tensor w = tensor(m);
    const double* x = w.data<double>();
    auto it = gradients_.find(m_.graph.values[m.tensor].name);
    const Tensor gradient = by_gradient(o_.criterion) && it != gradients_.end() ? it->second.to(Dtype::f64) : Tensor{};
    const double* g = gradient ? gradient.data<double>() : nullptr;
    std::vector<double> per_index(w.shape()[m.axis]);
    for_each(w.shape(), m.axis, [&](int64_t i, int64_t e) {
      const double slope = g ? g[e] : 0;
      switch (o_.criterion) {
        case Criterion::l1:
        case Criterion::bn:
          per_index[i] += std::abs(x[e]);
          break;
        case Criterion::taylor:
          per_index[i] += std::abs(x[e] * slope);
          break;
        case Criterion::taylor_abs:
          per_index[i] += x[e] * slope;
          break;
        case Criterion::hessian:
          per_index[i] += x[e] * x[e] * slope;
          break;
        default:
          per_index[i] += x[e] * x[e];
      }
    });
    std::vector<double> score(group.channels.size());
    for (size_t i = 0; i < per_index.size(); ++i) {
      const int k = place(m, static_cast<int64_t>(i));
      const double v = std::abs(per_index[i]);
      if (k >= 0) score[k] = o_.reduction == Reduction::max ? std::max(score[k], v) : score[k] + v;
    }
    return score;
  }

  // Sum of the distances to all channels of the group. Channels held at fewer indices than others have zeros there.
  std::vector<double> distances(const Member& m, const Group& group) const {
    const Tensor w = tensor(m);
    std::vector<std::vector<double>> v(group.channels.size());
    const bool squares = o_.criterion == Criterion::fpgm_published;
    for_each(w.shape(), m.axis, [&](int64_t i, int64_t e) {
      const double x = w.data<double>()[e];
      if (const int k = place(m, i); k >= 0) v[k].push_back(squares ? x * x : x);
    });
    size_t longest = 0;
    for (auto& x : v) longest = std::max(longest, x.size());
    for (auto& x : v) x.resize(longest);
    std::vector<double> score(v.size());
    parallel_for(static_cast<int64_t>(v.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t a = begin; a < end; ++a)
        for (auto& other : v) {
          double sum = 0;
          for (size_t i = 0; i < longest; ++i) sum += (v[a][i] - other[i]) * (v[a][i] - other[i]);
          score[a] += std::sqrt(sum);
        }
    });
    return score;
  }

  std::vector<double> reduce(const std::vector<std::vector<double>>& members) const {
    if (o_.reduction == Reduction::first) return members.front();
    if (o_.reduction == Reduction::last) return members.back();
    std::vector<double> all = members[0];
    for (size_t m = 1; m < members.size(); ++m)
      for (size_t k = 0; k < all.size(); ++k) {
        const double v = members[m][k];
        all[k] = o_.reduction == Reduction::max ? std::max(all[k], v) : o_.reduction == Reduction::product ? all[k] * v : all[k] + v;
      }
    if (o_.reduction == Reduction::mean)
      for (double& v : all) v /= static_cast<double>(members.size());
    return all;
  }

  const Model& m_;
  const Structure& s_;
  const Importance& o_;
  const Gradients& gradients_;
  std::vector<int> place_;  // channel -> its place in the group
};

double sum_of(const std::vector<double>& v) {
  double sum = 0;
  for (double x : v) sum += x;
  return sum;
}

// x -> (x - shift) / scale, with the published guards against 0 where they are published; elsewhere all-zero scores stay.
void affine(std::vector<double>& v, double shift, double scale) {
  for (double& x : v) x = scale == 0 ? x - shift : (x - shift) / scale;
}

void lamp(std::vector<double>& v) {
  std::vector<size_t> order(v.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return v[a] > v[b]; });
  double not_smaller = 0;
  for (size_t i : order) {
    not_smaller += v[i];
    if (not_smaller > 0) v[i] /= not_smaller;
  }
}

void normalise(std::vector<double>& v, Normaliser n, double quantile) {
  const auto count = static_cast<double>(v.size());
  const double sum = sum_of(v), mean = sum / count, low = *std::min_element(v.begin(), v.end()),
               high = *std::max_element(v.begin(), v.end());
  if (n == Normaliser::mean) affine(v, 0, mean);
  if (n == Normaliser::sum) affine(v, 0, sum);
  if (n == Normaliser::max) affine(v, 0, high);
  if (n == Normaliser::range) affine(v, low, high - low + 1e-8);
  if (n == Normaliser::lamp) lamp(v);
  if (n == Normaliser::gaussian) {
    double squares = 0;
    for (double x : v) squares += (x - mean) * (x - mean);
    affine(v, mean, std::sqrt(squares / std::max(count - 1, 1.0)) + 1e-8);
  }
  if (n == Normaliser::sentinel) {
    auto sorted = v;
    std::sort(sorted.begin(), sorted.end());
    affine(v, 0, sorted[std::min(static_cast<size_t>(quantile * count), v.size() - 1)]);
  }
}

}  // namespace

Criterion criterion_named(const std::string& text) { return named<Criterion>(kCriteria, text, "importance"); }
Reduction reduction_named(const std::string& text) { return named<Reduction>(kReductions, text, "reduction"); }
Normaliser normaliser_named(const std::string& text) { return named<Normaliser>(kNormalisers, text, "normaliser"); }
std::vector<std::string> criterion_names() { return kCriteria; }
std::vector<std::string> reduction_names() { return kReductions; }
std::vector<std::string> normaliser_names() { return kNormalisers; }

std::vector<double> scores(const Model& m, const Structure& s, const Importance& o, const Gradients& gradients) {
  std::vector<double> all(s.group_of.size());
  Scorer scorer(m, s, o, gradients);
  for (size_t i = 0; i < s.groups.size(); ++i) {
    const Group& group = s.groups[i];
    if (!group.fixed.empty()) continue;
    std::vector<double> v;
    if (o.criterion == Criterion::random) {
      Philox rng(o.seed, i);
      for (size_t k = 0; k < group.channels.size(); ++k) v.push_back(rng.uniform());
    } else {
      v = scorer.of(group);
      normalise(v, o.criterion == Criterion::lamp ? Normaliser::lamp : o.normaliser, o.sentinel);
    }
    for (size_t k = 0; k < v.size(); ++k) all[group.channels[k]] = v[k];
  }
  return all;
}

}  // namespace vitrine::prune
