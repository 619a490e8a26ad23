// Synthetic faces: determinism, identities, conditions, pair lists, files.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "data/directory_set.h"
#include "data/synthetic.h"
#include "engine/core/parallel.h"
#include "eval/pairs.h"
#include "tests/unit/data_testing.h"

namespace vitrine::data {
namespace {

std::string fingerprint(const std::vector<Image>& images) {
  std::vector<uint8_t> all;
  for (const Image& image : images) all.insert(all.end(), image.pixels.begin(), image.pixels.end());
  return sha256(all);
}

double difference(const Image& a, const Image& b) {
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) sum += std::abs(int(a.pixels[i]) - int(b.pixels[i]));
  return sum / double(a.pixels.size());
}

TEST(Synthetic, ImagesAreTheRecordedBytesAloneTogetherAndForAnyNumberOfThreads) {
  const SyntheticSet set(7, 100, 4, 5), part(7, 102, 1, 5);
  const int before = threads();
  std::map<int, std::string> seen;
  for (const int n : {1, 4}) {
    set_threads(n);
    std::vector<Image> images(size_t(set.size()));
    parallel_for(set.size(), 1, [&](int64_t i, int64_t) { images[i] = set.image(i); });
    seen[n] = fingerprint(images);
    EXPECT_EQ(part.image(3), images[13]) << n << " threads";
  }
  set_threads(before);
  EXPECT_EQ(seen[1], seen[4]);
  EXPECT_EQ(seen[1], "8644d88948daf2a4e873a61eeeafc217c10fc534021609b11b460272ff8e7285");
}

TEST(Synthetic, EveryOptionOfAShotIsSeen) {
  const FaceTraits who = face_traits(1, 20);
  const FaceShot plain;
  const Image front = render_face(who, plain);
  EXPECT_EQ(front.width, 112);
  EXPECT_EQ(front.height, 112);
  const auto changed = [&](auto change) {
    FaceShot shot = plain;
    change(shot);
    return difference(front, render_face(who, shot));
  };
  EXPECT_GT(changed([](FaceShot& s) { s.age = 75; }), 1);
  EXPECT_GT(changed([](FaceShot& s) { s.yaw = 0.5f; }), 5);
  EXPECT_GT(changed([](FaceShot& s) { s.pitch = 0.3f; }), 2);
  EXPECT_GT(changed([](FaceShot& s) { s.light_x = 1; }), 5);
  EXPECT_GT(changed([](FaceShot& s) { s.exposure = 0.7f; }), 10);
  EXPECT_GT(changed([](FaceShot& s) { s.cast[2] = 0.8f; }), 1);
  EXPECT_GT(changed([](FaceShot& s) { s.smile = 1, s.open = 1; }), 0.5);
  EXPECT_GT(changed([](FaceShot& s) { s.brow = 1; }), 0.1);
  EXPECT_GT(changed([](FaceShot& s) { s.blink = 1; }), 0.1);
  EXPECT_GT(changed([](FaceShot& s) { s.glasses = true; }), 0.3);
  EXPECT_GT(changed([](FaceShot& s) { s.blur = 2; }), 0.5);
  EXPECT_GT(changed([](FaceShot& s) { s.noise = 8; }), 3);
  EXPECT_GT(changed([](FaceShot& s) { s.detail = 1; }), 5);  // another background
  for (const Occlusion o : {Occlusion::kSunglasses, Occlusion::kScarf, Occlusion::kBox})
    EXPECT_GT(changed([o](FaceShot& s) { s.occlusion = o; }), 1) << int(o);
}

TEST(Synthetic, MirroredPosesOfASymmetricFaceAreMirrorImages) {
  FaceTraits average{};
  average[kMoleSize] = -1;
  FaceShot left, right;
  left.yaw = -0.5f, right.yaw = 0.5f;
  const Image a = render_face(average, left), b = flip_horizontal(render_face(average, right));
  // Background, the hair's strands and glints are not symmetric; compare the middle of the face.
  EXPECT_LT(difference(crop(a, 36, 60, 40, 40), crop(b, 36, 60, 40, 40)), 8);
  EXPECT_GT(difference(crop(a, 36, 60, 40, 40), crop(flip_horizontal(b), 36, 60, 40, 40)), 12);
}

TEST(Synthetic, AnIdentityKeepsItsTraitsAndNoTwoImagesAreAlike) {
  const SyntheticSet set(3, 0, 3, 6);
  std::set<std::string> images;
  for (int64_t i = 0; i < set.size(); ++i) {
    EXPECT_EQ(set.label(i), i / 6);
    EXPECT_EQ(set.traits(i), face_traits(3, i / 6));
    images.insert(fingerprint({set.image(i)}));
  }
  EXPECT_EQ(images.size(), 18u);
  EXPECT_EQ(set.name(7), "1/1.png");
  EXPECT_GT(face_distance(set.traits(0), set.traits(6)), 1);
  EXPECT_NE(face_traits(3, 0), face_traits(4, 0));
}

TEST(Synthetic, BackgroundsSayNothingOfTheIdentity) {
  const SyntheticSet set(5, 0, 60, 3, Condition::kModerate);
  double same = 0, different = 0;
  for (int64_t k = 0; k < 60; ++k) {
    const auto corner = [&](int64_t image) { return crop(set.image(image), 0, 0, 8, 8); };
    same += difference(corner(3 * k), corner(3 * k + 1));
    different += difference(corner(3 * k), corner((3 * k + 5) % set.size()));
  }
  EXPECT_NEAR(same / different, 1, 0.15);
}

TEST(Synthetic, ListsAreBalancedLabelledAndHeldOut) {
  std::set<int64_t> people;
  for (const PairKind kind : kPairKinds) {
    const SyntheticPairs list = synthetic_pairs(kind, 1, 400);
    ASSERT_EQ(list.pairs.size(), 400u);
    std::map<std::pair<int, bool>, int> counts;
    std::map<int64_t, int> fold_of;
    std::set<int64_t> used;
    for (const SyntheticPair& pair : list.pairs) {
      ++counts[{pair.fold, pair.same}];
      EXPECT_EQ(pair.same, list.images.identity(pair.a) == list.images.identity(pair.b));
      for (const int64_t i : {pair.a, pair.b}) {
        EXPECT_GE(list.images.identity(i), kHeldOut);
        EXPECT_TRUE(used.insert(i).second) << "image twice";
        EXPECT_EQ(fold_of.try_emplace(list.images.identity(i), pair.fold).first->second, pair.fold) << "identity in two folds";
      }
    }
    EXPECT_EQ(counts.size(), 20u);
    for (const auto& [key, count] : counts) EXPECT_EQ(count, 20) << list.name;
    for (const auto& [identity, fold] : fold_of) EXPECT_TRUE(people.insert(identity).second) << "identity in two lists";
  }
}

TEST(Synthetic, AgePoseAndLikenessAreAsPromised) {
  const SyntheticPairs ages = synthetic_pairs(PairKind::kCalfw, 1, 400), poses = synthetic_pairs(PairKind::kCplfw, 1, 400);
  for (const auto& [a, b, same, fold] : ages.pairs) {
    const float gap = std::abs(ages.images.shot(a).age - ages.images.shot(b).age);
    if (same) {
      EXPECT_GE(gap, 32);
    } else {
      EXPECT_LE(gap, 14);
      EXPECT_EQ(ages.images.traits(a)[kMale] > 0, ages.images.traits(b)[kMale] > 0);
    }
  }
  for (const auto& [a, b, same, fold] : poses.pairs) {
    if (same) {
      EXPECT_GE(std::abs(poses.images.shot(a).yaw - poses.images.shot(b).yaw), 0.5f);
    }
  }
  const auto likeness = [](PairKind kind) {
    const SyntheticPairs list = synthetic_pairs(kind, 1, 400);
    double sum = 0;
    for (const auto& [a, b, same, fold] : list.pairs)
      if (!same) sum += face_distance(list.images.traits(a), list.images.traits(b)) / 200;
    return sum;
  };
  EXPECT_LT(likeness(PairKind::kSllfw), 0.75 * likeness(PairKind::kCalfw));  // which has one sex too
  EXPECT_LT(likeness(PairKind::kCalfw), likeness(PairKind::kLfw));
}

TEST(Synthetic, WrittenListsAreReadBack) {
  const Scratch scratch;
  const SyntheticPairs list = synthetic_pairs(PairKind::kSllfw, 2, 40);
  write_images(list.images, scratch.path.string());
  write_pairs(list, scratch / "pairs.txt");
  const DirectorySet set(scratch.path.string());
  EXPECT_EQ(set.size(), list.images.size());
  const eval::PairList read = eval::read_pairs(scratch / "pairs.txt");
  ASSERT_EQ(read.pairs.size(), list.pairs.size());
  for (size_t i = 0; i < read.pairs.size(); ++i) {
    EXPECT_EQ(read.images[read.pairs[i].a], list.images.name(list.pairs[i].a));
    EXPECT_EQ(read.images[read.pairs[i].b], list.images.name(list.pairs[i].b));
    EXPECT_EQ(read.pairs[i].same, list.pairs[i].same);
    EXPECT_EQ(read.pairs[i].fold, list.pairs[i].fold);
  }
  for (int64_t i = 0; i < set.size(); i += 17) {
    const auto at = std::find(set.paths.begin(), set.paths.end(), list.images.name(i));
    ASSERT_NE(at, set.paths.end());
    EXPECT_EQ(set.image(at - set.paths.begin()), list.images.image(i));
  }
}

TEST(Synthetic, ImpossibleSetsAndListsAreErrors) {
  EXPECT_NE(error_of([] { SyntheticSet(1, 0, 0, 5); }).find("0 identities"), std::string::npos);
  EXPECT_NE(error_of([] { SyntheticSet(1, 0, 5, 0); }).find("0 images each"), std::string::npos);
  EXPECT_NE(error_of([] { SyntheticSet(1, -1, 5, 1); }).find("synthetic identity -1"), std::string::npos);
  EXPECT_NE(error_of([] { SyntheticSet(1, 0, int64_t{1} << 50, 1); }).find("at most"), std::string::npos);
  EXPECT_NE(error_of([] { SyntheticSet(1, 0, 2, 2).image(4); }).find("synthetic image 4"), std::string::npos);
  for (const int64_t n : {0, -40, 60, 2'000'000})
    EXPECT_NE(error_of([n] { synthetic_pairs(PairKind::kLfw, 1, n); }).find("multiple of 40"), std::string::npos);
}

}  // namespace
}  // namespace vitrine::data
