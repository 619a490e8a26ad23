#include "tools/datasets.h"

#include <charconv>

#include "data/sampler.h"
#include "data/synthetic.h"
#include "engine/core/error.h"

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

}  // namespace

OpenedSet::OpenedSet(const std::string& spec, double fraction, uint64_t seed) : all_(open(spec, seed)) {
  if (fraction < 1) part_ = std::make_unique<data::SubsetView>(*all_, data::subset(all_->size(), fraction, seed));
  cached_ = std::make_unique<data::CachedSet>(part_ ? *part_ : *all_, kCacheBytes);
}

}  // namespace vitrine::tools
