// People who do not exist: any number of identities, photographed any number of times, and four lists of pairs to verify.
// Everything is a function of (seed, identity, image): images are drawn when asked for, alone or together, by any thread, alike.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/face_renderer.h"

namespace vitrine::data {

// How the images of an identity differ. kTraining has the range of all others.
//   kModerate    a few years, poses and moods: LFW
//   kAges        image 0 taken young, image 1 old, all others in between: CALFW
//   kPoses       image 0 from the front, image 1 turned by 35 to 55 degrees, all others in between: CPLFW
enum class Condition { kTraining, kModerate, kAges, kPoses };

// Who `identity` is: independent standard normal traits, cut at +-2.2.
FaceTraits face_traits(uint64_t seed, int64_t identity);
FaceShot face_shot(uint64_t seed, int64_t identity, int64_t image, Condition condition);
// Euclidean over what can be seen (hidden are a woman's beard, a missing mole, ..); another sex counts as far away.
double face_distance(const FaceTraits& a, const FaceTraits& b);

// Identities below are for training, the pair lists take theirs from here on.
constexpr int64_t kHeldOut = 1'000'000;

// `images` of each identity, in order: image i shows identities[i / images]; its label is i / images.
class SyntheticSet : public Dataset {
 public:
  // Error unless there are identities, all in [0, 2^40), and images in [1, 2^20).
  SyntheticSet(uint64_t seed, std::vector<int64_t> identities, int64_t images, Condition condition = Condition::kTraining);
  // The identities first .. first + count - 1.
  SyntheticSet(uint64_t seed, int64_t first, int64_t count, int64_t images, Condition condition = Condition::kTraining);

  int64_t size() const override { return int64_t(identities_.size()) * images_; }
  int64_t label(int64_t i) const override;
  Image image(int64_t i) const override;
  std::string name(int64_t i) const override;  // "1000007/3.png", where write_images puts it
  FaceTraits traits(int64_t i) const { return face_traits(seed_, identity(i)); }
  FaceShot shot(int64_t i) const { return face_shot(seed_, identity(i), i % images_, condition_); }
  int64_t identity(int64_t i) const { return identities_[label(i)]; }

 private:
  const uint64_t seed_;
  const std::vector<int64_t> identities_;
  const int64_t images_;
  const Condition condition_;
};

// The lists are named after the real ones they imitate. Different pairs: any two people (kLfw); two of one sex, alike in age (kCalfw),
// in any pose (kCplfw); the pairs that look most alike among many people (kSllfw).
enum class PairKind { kLfw, kCalfw, kCplfw, kSllfw };
constexpr PairKind kPairKinds[] = {PairKind::kLfw, PairKind::kCalfw, PairKind::kCplfw, PairKind::kSllfw};

const char* pair_list_name(PairKind);  // "synthetic-lfw", ..

struct SyntheticPair {
  int64_t a = 0, b = 0;  // images of the set
  bool same = false;
  int fold = 0;
};

struct SyntheticPairs {
  std::string name;
  SyntheticSet images;
  std::vector<SyntheticPair> pairs;  // per fold, first the same pairs, then as many different ones
  int folds = 10;
};

// n pairs in ten folds that share no identity; every image is in one pair. Error unless n is a positive multiple of 40.
SyntheticPairs synthetic_pairs(PairKind kind, uint64_t seed, int64_t n);

// DIR/<identity>/<image>.png for all images; folders are made as needed.
void write_images(const SyntheticSet& set, const std::string& dir);
// Two lines a pair, in the order of SLLFW's list.
void write_pairs(const SyntheticPairs& list, const std::string& path);

}  // namespace vitrine::data
