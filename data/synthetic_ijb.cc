#include "data/synthetic_ijb.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/codec.h"
#include "data/face_renderer.h"
#include "data/synthetic.h"
#include "engine/core/bytes.h"
#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "engine/core/rng.h"

namespace vitrine::data {
namespace {

constexpr int64_t kFirstSubject = kHeldOut + 100'000'000;  // behind those of the pair lists
constexpr int kFrameShots = 1 << 16;                       // numbers of the shots that frames of a video differ by

// What a camera and a detector make of a face: where its crop lies in the loose image.
struct Loose {
  Affine from_crop{};  // aligned crop -> loose image
  int side = 0;
};

struct Take {
  int64_t subject = 0, shot = 0;
  int frame = 0;  // of a video: 0 is the shot itself
};

FaceShot shot_of(uint64_t seed, const Take& take) {
  FaceShot s = face_shot(seed, take.subject, take.shot, Condition::kModerate);
  if (take.frame == 0) return s;
  // Later frames show the same moment, turned a little, blurred by motion.
  const FaceShot other = face_shot(seed, take.subject, kFrameShots + take.shot * 16 + take.frame, Condition::kModerate);
  s.yaw += 0.4f * other.yaw, s.pitch += 0.4f * other.pitch, s.open = other.open, s.blink = other.blink;
  s.blur += 0.6f, s.detail = other.detail;
  return s;
}

Loose camera(uint64_t seed, int64_t face) {
  Philox rng(seed, uint64_t{1} << 62 | uint64_t(face));
  const double scale = 0.9 + 0.7 * rng.uniform(), angle = 0.6 * (rng.uniform() - 0.5);
  const double a = scale * std::cos(angle), b = scale * std::sin(angle);
  Loose loose;
  loose.side = int(112 * scale * 1.4);
  const double middle = loose.side / 2.0 + 8 * (rng.uniform() - 0.5);
  loose.from_crop = {{{a, -b, middle - 56 * (a - b)}, {b, a, middle - 56 * (a + b)}}};
  return loose;
}

class LooseSet : public Dataset {
 public:
  LooseSet(uint64_t seed, std::vector<Take> takes) : seed_(seed), takes_(std::move(takes)) {}
  int64_t size() const override { return int64_t(takes_.size()); }
  int64_t label(int64_t i) const override { return takes_.at(i).subject - kFirstSubject; }
  Image image(int64_t i) const override {
    const Take& take = takes_.at(i);
    const Loose loose = camera(seed_, i);
    return warp_affine(render_face(face_traits(seed_, take.subject), shot_of(seed_, take)), loose.from_crop, loose.side, loose.side);
  }
  std::string name(int64_t i) const override { return cat(i + 1, ".png"); }

 private:
  const uint64_t seed_;
  const std::vector<Take> takes_;
};

FacePoints landmarks(const Loose& loose) {
  FacePoints points = face_template();
  for (auto& [x, y] : points) {
    const auto& m = loose.from_crop;
    const std::array<double, 2> p{m[0][0] * x + m[0][1] * y + m[0][2], m[1][0] * x + m[1][1] * y + m[1][2]};
    x = std::round(p[0] * 1000) / 1000, y = std::round(p[1] * 1000) / 1000;  // as the official files print them
  }
  return points;
}

float detector_score(const FaceShot& s) {
  const float covered = s.occlusion == Occlusion::kNone ? 0.0f : 0.3f;
  return std::clamp(0.98f - 0.08f * s.blur - 0.3f * std::abs(s.yaw) - covered, 0.1f, 1.0f);
}

}  // namespace

SyntheticIjb synthetic_ijb(uint64_t seed, int subjects) {
  CHECK(subjects >= 4 && subjects <= 100'000, subjects, " subjects, expected 4 to 100000");
  SyntheticIjb set;
  std::vector<Take> takes;
  int media = 0, templates = 0;
  const auto medium = [&](int subject, int shot, int frames) {
    ++media;
    for (int frame = 0; frame < frames; ++frame) {
      takes.push_back({kFirstSubject + subject, shot, frame});
      const auto face = int64_t(set.faces.size());
      set.faces.push_back({.name = cat(face + 1, ".png"),
                           .template_id = templates,
                           .medium = media,
                           .points = landmarks(camera(seed, face)),
                           .score = detector_score(shot_of(seed, takes.back()))});
    }
  };
  for (int s = 0; s < subjects; ++s) {
    set.galleries[s % 2].push_back({++templates, s});
    medium(s, 0, 1), medium(s, 1, 1);
  }
  for (int s = 0; s < subjects; ++s) {
    set.probes.push_back({++templates, s});
    medium(s, 2, 1), medium(s, 3, 3);
    set.probes.push_back({++templates, s});
    medium(s, 4, 2);
  }
  for (int s = 0; s < subjects; ++s)
    for (auto& probe : set.probes) set.pairs.push_back({s + 1, probe.template_id, probe.subject == s});
  set.images = std::make_shared<LooseSet>(seed, std::move(takes));
  return set;
}

void write_ijb(const SyntheticIjb& set, const std::string& dir) {
  const std::filesystem::path root(dir), meta = root / "meta", crops = root / "loose_crop";
  for (auto& folder : {meta, crops}) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    CHECK(!error, folder.string(), ": cannot be made: ", error.message());
  }
  save_bytes(meta / "ijbc_face_tid_mid.txt", [&](std::ostream& out) {
    for (auto& f : set.faces) out << f.name << " " << f.template_id << " " << f.medium << "\n";
  });
  save_bytes(meta / "ijbc_name_5pts_score.txt", [&](std::ostream& out) {
    for (auto& f : set.faces) {
      out << f.name;
      for (auto& [x, y] : f.points) out << " " << x << " " << y;
      out << " " << f.score << "\n";
    }
  });
  save_bytes(meta / "ijbc_template_pair_label.txt", [&](std::ostream& out) {
    for (auto& [a, b, same] : set.pairs) out << a << " " << b << " " << same << "\n";
  });
  const auto enrolled = [&](const char* name, const std::vector<SyntheticIjb::Enrolled>& all) {
    save_bytes(meta / name, [&](std::ostream& out) {
      out << "TEMPLATE_ID,SUBJECT_ID,FILENAME\n";
      for (auto& f : set.faces)  // a row an image
        for (auto& e : all)
          if (e.template_id == f.template_id) out << e.template_id << "," << e.subject << "," << f.name << "\n";
    });
  };
  enrolled("ijbc_1N_gallery_G1.csv", set.galleries[0]);
  enrolled("ijbc_1N_gallery_G2.csv", set.galleries[1]);
  enrolled("ijbc_1N_probe_mixed.csv", set.probes);
  parallel_for(set.images->size(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) write_image((crops / set.images->name(i)).string(), set.images->image(i));
  });
}

}  // namespace vitrine::data
