#include "data/sampler.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "data/lines.h"
#include "engine/core/error.h"
#include "engine/core/rng.h"

namespace vitrine::data {
namespace {

// Each use of a seed has streams of its own, so that no two draws share random numbers.
enum Use : uint64_t { kShuffled = 1, kBalanced = 2, kSubset = 3 };
Philox generator(uint64_t seed, Use use, uint64_t epoch) { return Philox(seed, use << 56 | epoch); }

bool coin(Philox& rng) { return rng.next() & 1; }

// Fisher-Yates from the front: the first `count` values become a uniform draw without replacement.
void shuffle_front(std::vector<int64_t>& values, int64_t count, Philox& rng) {
  const int64_t n = int64_t(values.size());
  for (int64_t i = 0; i < count; ++i) std::swap(values[i], values[i + int64_t(rng.below(uint64_t(n - i)))]);
}

std::vector<int64_t> permutation(int64_t n, Philox& rng) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  shuffle_front(order, n, rng);
  return order;
}

}  // namespace

Batches shuffled_batches(int64_t n, int64_t batch, uint64_t seed, uint64_t epoch, bool flip, bool drop_last) {
  CHECK(batch > 0 && n > 0, "batches of ", batch, " from ", n, " images: positive numbers expected");
  CHECK(n >= batch || !drop_last, "a set of ", n, " images has no full batch of ", batch);
  Philox rng = generator(seed, kShuffled, epoch);
  const std::vector<int64_t> order = permutation(n, rng);
  Batches batches;
  for (int64_t begin = 0; begin < n && (begin + batch <= n || !drop_last); begin += batch) {
    auto& step = batches.emplace_back();
    for (int64_t i = begin; i < std::min(begin + batch, n); ++i) step.push_back({order[i], flip && coin(rng)});
  }
  return batches;
}

Batches balanced_batches(const std::vector<int64_t>& labels, uint64_t seed, uint64_t epoch, const Balanced& counts) {
  const auto [general, identities, images] = counts;
  const int64_t n = int64_t(labels.size());
  CHECK(general > 0 && identities > 0 && images > 0, "balanced batches of ", general, " + ", identities, "x", images,
        ": positive numbers expected");
  CHECK(n >= general, "a set of ", n, " images has no full batch: ", general,
        " of each are drawn from all, expected as many images or a smaller --batch");

  std::map<int64_t, std::vector<int64_t>> by_label;  // ordered: the draw must not depend on hashing
  for (int64_t i = 0; i < n; ++i) by_label[labels[i]].push_back(i);
  std::vector<std::vector<int64_t>> groups;
  for (auto& [label, members] : by_label) groups.push_back(std::move(members));

  Philox rng = generator(seed, kBalanced, epoch);
  const std::vector<int64_t> order = permutation(n, rng);
  Batches batches(n / general);
  for (size_t step = 0; step < batches.size(); ++step) {
    for (int64_t i = 0; i < general; ++i) batches[step].push_back({order[step * general + i], coin(rng)});
    for (int64_t k = 0; k < identities; ++k) {
      std::vector<int64_t> members = groups[rng.below(groups.size())];
      if (int64_t(members.size()) > images) shuffle_front(members, images, rng);
      for (int64_t i = 0; i < images; ++i) batches[step].push_back({members[i % members.size()], coin(rng)});
    }
  }
  return batches;
}

Batches read_batches(const std::string& path, int64_t size) {
  Batches batches;
  detail::for_each_line(path, [&](const detail::Line& line) {
    CHECK(!line.fields.empty(), line.where(), ": empty line, the images of one step expected");
    auto& step = batches.emplace_back();
    for (size_t i = 0; i < line.fields.size(); ++i) {
      const int64_t value = line.number<int64_t>(i);
      const Sample sample{value < 0 ? -(value + 1) : value, value < 0};  // -(v+1): defined for every v
      CHECK(sample.index < size, line.where(), ": field ", i + 1, " is '", brief(line.fields[i]), "', image ", sample.index,
            " of a set of ", size);
      step.push_back(sample);
    }
  });
  CHECK(!batches.empty(), path, ": empty, a line of image numbers per step expected");
  return batches;
}

std::vector<int64_t> subset(int64_t n, double fraction, uint64_t seed) {
  CHECK(fraction > 0 && fraction <= 1, "fraction ", fraction, " of a set: 0 < fraction <= 1 expected");
  const int64_t count = int64_t(std::floor(double(n) * fraction));
  CHECK(count > 0, "fraction ", fraction, " of ", n, " images leaves none");
  Philox rng = generator(seed, kSubset, 0);
  std::vector<int64_t> indices = permutation(n, rng);
  indices.resize(count);
  std::sort(indices.begin(), indices.end());
  return indices;
}

}  // namespace vitrine::data
