#include "eval/pair_builder.h"

#include <algorithm>

#include "engine/core/error.h"
#include "eval/lines.h"

namespace vitrine::eval {

void PairBuilder::add(const std::string& file, int line, const std::string& a, const std::string& b, bool same, int fold) {
  const auto at = [&] { return cat(file, ":", line, ": "); };
  if (!is_inside(a)) check_path(a, at());
  if (!is_inside(b)) check_path(b, at());
  CHECK(a != b, at(), excerpt(a), " paired with itself, expected two images");
  // (a, b) and (b, a) are one comparison; counting it twice would pretend to more evidence than there is.
  Pair pair{.a = image_index(a), .b = image_index(b), .same = same, .fold = fold};
  auto [low, high] = std::minmax(pair.a, pair.b);
  bool fresh = seen_.insert(static_cast<uint64_t>(low) << 32 | static_cast<uint64_t>(high)).second;
  CHECK(fresh, at(), excerpt(a), " and ", excerpt(b), " again, expected every pair once");
  list.pairs.push_back(pair);
}

int PairBuilder::image_index(const std::string& path) {
  auto [place, fresh] = index_.try_emplace(path, static_cast<int>(list.images.size()));
  if (fresh) list.images.push_back(path);
  return place->second;
}

void check_balance(const PairList& list, const std::string& file) {
  std::vector<int64_t> count[2] = {std::vector<int64_t>(list.folds), std::vector<int64_t>(list.folds)};
  for (const Pair& pair : list.pairs) ++count[pair.same][pair.fold];
  for (int fold = 0; fold < list.folds; ++fold) {
    int64_t same = count[1][fold], different = count[0][fold];
    CHECK(same == different && same > 0, file, ": fold ", fold + 1, " of ", list.folds, " has ", same, " same and ", different,
          " different pairs, expected as many of each");
  }
}

}  // namespace vitrine::eval
