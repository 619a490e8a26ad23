#include "eval/identify.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <mutex>
#include <unordered_map>

#include "engine/core/error.h"
#include "engine/core/parallel.h"

namespace vitrine::eval {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

// What is left of a probe after it was compared with the gallery.
struct Search {
  int mate = -1;  // place in the gallery
  double mate_score = kNone;
  int64_t above = 0;          // other templates that score higher than the mate
  double best_other = kNone;  // of templates that are no mate
};

// The `keep` highest of any number of scores, whoever brings them in whatever order.
class Highest {
 public:
  explicit Highest(int64_t keep) : keep_(static_cast<size_t>(keep)) {}
  void add(const std::vector<double>& scores) {
    std::lock_guard lock(mutex_);
    for (double score : scores)
      if (score > floor_) scores_.push_back(score);
    if (scores_.size() < 2 * keep_) return;
    std::nth_element(scores_.begin(), scores_.begin() + static_cast<std::ptrdiff_t>(keep_ - 1), scores_.end(), std::greater<>());
    scores_.resize(keep_);
    floor_ = scores_[keep_ - 1];
  }
  std::vector<double> descending() {
    std::sort(scores_.begin(), scores_.end(), std::greater<>());
    scores_.resize(std::min(scores_.size(), keep_));
    return std::move(scores_);
  }

 private:
  std::mutex mutex_;
  size_t keep_;
  double floor_ = kNone;  // no score up to it can be among the highest any more
  std::vector<double> scores_;
};

std::unordered_map<int, int> places(const Enrolment& gallery) {
  std::unordered_map<int, int> place;
  for (size_t i = 0; i < gallery.subjects.size(); ++i)
    CHECK(place.emplace(gallery.subjects[i], static_cast<int>(i)).second, "subject ", gallery.subjects[i],
          " has two templates in the gallery, expected one");
  return place;
}

std::vector<Search> search(const Templates& unit, const Enrolment& gallery, const Enrolment& probes, Highest* others = nullptr) {
  const auto place = places(gallery);
  const auto row = [&](int t) { return unit.rows.data() + t * unit.dim; };
  std::vector<Search> all(probes.templates.size());
  parallel_for(static_cast<int64_t>(all.size()), 16, [&](int64_t begin, int64_t end) {
    std::vector<double> scores(gallery.templates.size());
    for (int64_t p = begin; p < end; ++p) {
      Search& s = all[p];
      for (size_t g = 0; g < scores.size(); ++g) scores[g] = dot(row(probes.templates[p]), row(gallery.templates[g]), unit.dim);
      if (auto mate = place.find(probes.subjects[p]); mate != place.end()) {
        s.mate = mate->second;
        s.mate_score = scores[s.mate];
        for (double score : scores) s.above += score > s.mate_score;
        scores[s.mate] = kNone;
      }
      s.best_other = *std::max_element(scores.begin(), scores.end());
      if (others) others->add(scores);
    }
  });
  return all;
}

}  // namespace

ClosedSet identify_closed(const Templates& unit, const Enrolment& gallery, const Enrolment& probes) {
  ClosedSet result{.gallery = static_cast<int64_t>(gallery.templates.size()), .probes = static_cast<int64_t>(probes.templates.size())};
  const auto rank = [&](double fpir) { return static_cast<int64_t>(std::ceil(static_cast<double>(result.probes) * fpir)); };
  CHECK(result.gallery > 1 && result.probes > 0, result.gallery, " templates in the gallery and ", result.probes,
        " probes, expected at least two and one");
  Highest highest(rank(kFpirs.back()));
  const auto all = search(unit, gallery, probes, &highest);
  for (size_t p = 0; p < all.size(); ++p) {
    CHECK(all[p].mate >= 0, "probe of subject ", probes.subjects[p], " has no mate in the gallery, expected a closed set");
    for (size_t r = 0; r < kRanks.size(); ++r) result.found[r] += all[p].above < kRanks[r];
  }
  const std::vector<double> others = highest.descending();
  for (size_t f = 0; f < kFpirs.size(); ++f) {
    result.thresholds[f] = others[std::min<size_t>(rank(kFpirs[f]), others.size()) - 1];
    for (const Search& s : all) result.found_at_fpir[f] += s.mate_score > result.thresholds[f];
  }
  return result;
}

OpenSet identify_open(const Templates& unit, const Enrolment& gallery, const Enrolment& probes) {
  OpenSet result{.gallery = static_cast<int64_t>(gallery.templates.size())};
  CHECK(result.gallery > 0, "an empty gallery");
  const auto all = search(unit, gallery, probes);
  std::vector<double> mateless;
  for (const Search& s : all)
    if (s.mate < 0) mateless.push_back(s.best_other);
  std::sort(mateless.begin(), mateless.end(), std::greater<>());
  result.mateless = static_cast<int64_t>(mateless.size());
  result.mated = static_cast<int64_t>(all.size()) - result.mateless;
  CHECK(result.mateless > 0 && result.mated > 0, result.mated, " probes with and ", result.mateless,
        " without a mate in the gallery, expected an open set with both");
  for (size_t f = 0; f < kFpirs.size(); ++f) {
    const auto place = static_cast<int64_t>(static_cast<double>(result.mateless) * kFpirs[f]) - 1;
    result.thresholds[f] = mateless[std::max<int64_t>(place, 0)];
    for (const Search& s : all)
      result.found_at_fpir[f] += s.mate >= 0 && s.mate_score > s.best_other && s.mate_score > result.thresholds[f];
  }
  return result;
}

Enrolment join(const Enrolment& a, const Enrolment& b) {
  Enrolment all = a;
  all.templates.insert(all.templates.end(), b.templates.begin(), b.templates.end());
  all.subjects.insert(all.subjects.end(), b.subjects.begin(), b.subjects.end());
  return all;
}

}  // namespace vitrine::eval
