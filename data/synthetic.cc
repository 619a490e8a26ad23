#include "data/synthetic.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <tuple>

#include "data/codec.h"
#include "engine/core/bytes.h"
#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "engine/core/rng.h"

namespace vitrine::data {
namespace {

constexpr int kFolds = 10, kImages = 4;  // of an identity in a pair list: two for its same pair, one for each of two different pairs
constexpr int64_t kMaxIdentity = int64_t{1} << 40, kMaxImages = int64_t{1} << 20;
constexpr int kCandidates = 8;  // people per place in a list of people who look alike

// Stream 0 of an identity decides who it is; image j has stream j + 1.
Philox stream(uint64_t seed, int64_t identity, int64_t image) { return Philox(seed, uint64_t(identity) << 21 | uint64_t(image + 1)); }

double cut_normal(Philox& rng, double limit) {
  double v;
  do v = rng.normal();
  while (std::abs(v) > limit);
  return v;
}

std::vector<int64_t> range(int64_t first, int64_t count) {
  CHECK(count >= 0 && count <= kMaxIdentity, count, " identities: at most ", kMaxIdentity, " expected");
  std::vector<int64_t> all(count);
  std::iota(all.begin(), all.end(), first);
  return all;
}

// Twins 2k and 2k + 1 will be each other's different person. Takes them from the identities first .. first + kCandidates * count - 1.
std::vector<int64_t> twins_of_one_sex(uint64_t seed, int64_t first, int64_t count) {
  std::vector<int64_t> twins;
  int64_t waiting[2] = {-1, -1};
  for (int64_t i = first; int64_t(twins.size()) < count; ++i) {
    int64_t& other = waiting[face_traits(seed, i)[kMale] > 0];
    if (other >= 0) twins.insert(twins.end(), {other, i});
    other = other < 0 ? i : -1;
  }
  return twins;
}

// The closest pairs of all candidates, each person once.
std::vector<int64_t> look_alikes(uint64_t seed, int64_t first, int64_t count) {
  const int64_t n = kCandidates * count;
  std::vector<FaceTraits> traits(n);
  for (int64_t i = 0; i < n; ++i) traits[i] = face_traits(seed, first + i);
  std::vector<std::tuple<double, int64_t, int64_t>> nearest(n, {1e30, 0, 0});
  parallel_for(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < n; ++j)
        if (j != i) nearest[i] = std::min(nearest[i], {face_distance(traits[i], traits[j]), i, j});
  });
  std::sort(nearest.begin(), nearest.end());
  std::vector<bool> used(n);
  std::vector<int64_t> twins;
  for (const auto& [distance, a, b] : nearest) {
    if (used[a] || used[b] || int64_t(twins.size()) == count) continue;
    used[a] = used[b] = true;
    twins.insert(twins.end(), {first + a, first + b});
  }
  CHECK(int64_t(twins.size()) == count, "only ", twins.size(), " of ", count, " look-alikes found");
  return twins;
}

}  // namespace

FaceTraits face_traits(uint64_t seed, int64_t identity) {
  Philox rng = stream(seed, identity, -1);
  FaceTraits traits;
  for (float& t : traits) t = float(cut_normal(rng, 2.2));
  return traits;
}

FaceShot face_shot(uint64_t seed, int64_t identity, int64_t image, Condition condition) {
  const FaceTraits who = face_traits(seed, identity);
  Philox rng = stream(seed, identity, image);
  const auto normal = [&](double deviation) { return float(deviation * cut_normal(rng, 2.5)); };
  const auto uniform = [&](double low, double high) { return float(low + (high - low) * rng.uniform()); };
  const bool training = condition == Condition::kTraining, poses = condition == Condition::kPoses, ages = condition == Condition::kAges;
  const float home = 38 + 11 * who[kAge];

  FaceShot s;
  s.age = std::clamp(home + normal(training ? 14 : 5), 14.0f, 82.0f);
  if (ages) s.age = image == 0 ? uniform(16, 28) : image == 1 ? uniform(60, 80) : uniform(34, 48);
  s.yaw = normal(training ? 0.33 : 0.2);
  const float mirrored = rng.below(2) ? 1 : -1;  // drawn by a statement of its own: operands have no order
  if (poses) s.yaw = mirrored * (image == 0 ? uniform(0, 0.1) : image == 1 ? uniform(0.61, 0.96) : uniform(0.1, 0.7));
  s.pitch = normal(poses ? 0.2 : 0.12);
  s.light_x = uniform(-1, 1), s.light_y = uniform(-1, 0.5), s.light = uniform(0.1, 0.75);
  s.exposure = 1.02f + normal(0.17);
  for (float& c : s.cast) c = 1 + normal(0.06);
  s.smile = normal(0.5), s.open = std::max(0.0f, normal(0.4)), s.brow = std::max(0.0f, normal(0.35));
  s.blink = rng.below(12) == 0 ? uniform(0.5, 1) : uniform(0, 0.15), s.gaze = normal(0.4);
  s.hair = normal(0.8), s.beard = normal(1);
  s.glasses = rng.uniform() < (who[kGlasses] > 0.8f ? 0.8 : 0.06);
  const double hidden = training ? 0.12 : 0.06, draw = rng.uniform();
  if (draw < hidden) s.occlusion = draw < hidden / 3 ? Occlusion::kSunglasses : draw < hidden / 2 ? Occlusion::kScarf : Occlusion::kBox;
  s.blur = std::max(0.0f, 0.5f + normal(0.8)), s.noise = uniform(1, 7), s.misalign = uniform(0.2, 0.9);
  s.detail = rng.next64();
  return s;
}

double face_distance(const FaceTraits& a, const FaceTraits& b) {
  const bool male = a[kMale] > 0;
  double sum = male == (b[kMale] > 0) ? 0 : 100;
  for (int k = 0; k < kTraits; ++k) {
    const bool hidden =
        k == kAge || k == kGlasses || k == kGlassesShape || k == kMoleX || k == kMoleY || (!male && (k == kBeard || k == kMoustache));
    // Colour and hair are seen first, from afar.
    const double weight = hidden ? 0 : k == kSkin || k == kHairLight || k == kHairLength || k == kFringe ? 3 : 1;
    const bool threshold = k == kBeard || k == kMoustache || k == kMoleSize || k == kFreckles || k == kHairRed;
    const double x = threshold ? std::max(a[k], 0.0f) : a[k], y = threshold ? std::max(b[k], 0.0f) : b[k];
    sum += weight * (x - y) * (x - y);
  }
  return std::sqrt(sum);
}

SyntheticSet::SyntheticSet(uint64_t seed, std::vector<int64_t> identities, int64_t images, Condition condition)
    : seed_(seed), identities_(std::move(identities)), images_(images), condition_(condition) {
  CHECK(!identities_.empty() && images > 0 && images < kMaxImages, "synthetic set of ", identities_.size(), " identities with ", images,
        " images each: at least one, and 1..", kMaxImages - 1, " images expected");
  for (const int64_t i : identities_) CHECK(i >= 0 && i < kMaxIdentity, "synthetic identity ", i, ": 0..", kMaxIdentity - 1, " expected");
}

SyntheticSet::SyntheticSet(uint64_t seed, int64_t first, int64_t count, int64_t images, Condition condition)
    : SyntheticSet(seed, range(first, count), images, condition) {}

int64_t SyntheticSet::label(int64_t i) const {
  CHECK(i >= 0 && i < size(), "synthetic image ", i, ": 0..", size() - 1, " expected");
  return i / images_;
}

Image SyntheticSet::image(int64_t i) const { return render_face(traits(i), shot(i)); }

std::string SyntheticSet::name(int64_t i) const { return cat(identity(i), "/", i % images_, ".png"); }

const char* pair_list_name(PairKind kind) {
  constexpr const char* kNames[] = {"synthetic-lfw", "synthetic-calfw", "synthetic-cplfw", "synthetic-sllfw"};
  return kNames[int(kind)];
}

SyntheticPairs synthetic_pairs(PairKind kind, uint64_t seed, int64_t n) {
  CHECK(n > 0 && n % (4 * kFolds) == 0 && n <= 1'000'000, n, " pairs: a positive multiple of ", 4 * kFolds, " up to 1000000 expected");
  const int64_t people = n / 2, per_fold = people / kFolds;
  const int64_t first = kHeldOut + int64_t(kind) * kCandidates * 1'000'000;  // no two lists share an identity
  const auto index = static_cast<size_t>(kind);
  constexpr Condition kConditions[] = {Condition::kModerate, Condition::kAges, Condition::kPoses, Condition::kModerate};
  std::vector<int64_t> twins = kind == PairKind::kLfw     ? range(first, people)
                               : kind == PairKind::kSllfw ? look_alikes(seed, first, people)
                                                          : twins_of_one_sex(seed, first, people);
  SyntheticPairs list{pair_list_name(kind), SyntheticSet(seed, std::move(twins), kImages, kConditions[index]), {}, kFolds};
  for (int fold = 0; fold < kFolds; ++fold)
    for (const bool same : {true, false})
      for (int64_t k = fold * per_fold; k < (fold + 1) * per_fold; ++k)
        list.pairs.push_back({kImages * k + (same ? 0 : 2), kImages * (same ? k : k ^ 1) + (same ? 1 : 3), same, fold});
  return list;
}

void write_images(const SyntheticSet& set, const std::string& dir) {
  const std::filesystem::path root(dir);
  std::error_code error;
  for (int64_t i = 0; i < set.size(); ++i) {
    const auto folder = (root / set.name(i)).parent_path();
    std::filesystem::create_directories(folder, error);
    CHECK(!error, folder.string(), ": cannot be made: ", error.message());
  }
  parallel_for(set.size(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) write_image((root / set.name(i)).string(), set.image(i));
  });
}

void write_pairs(const SyntheticPairs& list, const std::string& path) {
  save_bytes(path, [&](std::ostream& out) {
    for (const SyntheticPair& pair : list.pairs) out << list.images.name(pair.a) << "\n" << list.images.name(pair.b) << "\n";
  });
}

}  // namespace vitrine::data
