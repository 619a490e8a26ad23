#include "tools/datasets.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "data/sampler.h"
#include "data/synthetic.h"
#include "engine/core/error.h"
#include "eval/pairs.h"

namespace vitrine::tools {
namespace {

constexpr int64_t kCacheBytes = int64_t{2} << 30;  // of decoded images: each is drawn about twice an epoch
constexpr std::string_view kSynthetic = "synthetic:";

std::unique_ptr<data::Dataset> open(const std::string& spec, uint64_t seed) {
  if (!spec.starts_with(kSynthetic)) return data::open_dataset(spec);
  int64_t identities = 0, images = 0;
  const char *begin = spec.data() + kSynthetic.size(), *end = spec.data() + spec.size();
  auto first = std::from_chars(begin, end, identities);
  auto second = std::from_chars(std::min(first.ptr + 1, end), end, images);
  CHECK(first.ec == std::errc() && first.ptr != end && *first.ptr == 'x' && second.ec == std::errc() && second.ptr == end &&
            identities > 0 && identities <= data::kHeldOut && images > 0,
        "data '", spec, "': expected synthetic:<identities>x<images>, at most ", data::kHeldOut, " identities");
  return std::make_unique<data::SyntheticSet>(seed, 0, identities, images);
}

std::string folder_of(const std::string& image) { return std::filesystem::path(image).parent_path().filename(); }

// The images of people whom the list does not name.
std::vector<int64_t> strangers(const data::Dataset& set, const std::string& list, const std::string& spec) {
  std::set<std::string> people;
  for (const std::string& image : eval::read_pairs(list).images) people.insert(folder_of(image));
  std::vector<int64_t> keep;
  for (int64_t i = 0; i < set.size(); ++i)
    if (!people.count(folder_of(set.name(i)))) keep.push_back(i);
  CHECK(static_cast<int64_t>(keep.size()) < set.size(), list, ": names ", people.size(), " people, none of them in ", spec);
  CHECK(!keep.empty(), list, ": names everybody in ", spec);
  return keep;
}

}  // namespace

OpenedSet::OpenedSet(const std::string& spec, double fraction, uint64_t seed, const std::string& without) {
  views_.push_back(open(spec, seed));
  auto narrow = [&](std::vector<int64_t> keep) { views_.push_back(std::make_unique<data::SubsetView>(set(), std::move(keep))); };
  if (!without.empty()) narrow(strangers(set(), without, spec));
  if (fraction < 1) narrow(data::subset(set().size(), fraction, seed));
  views_.push_back(std::make_unique<data::CachedSet>(set(), kCacheBytes));
}

}  // namespace vitrine::tools
