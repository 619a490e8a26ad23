// vitrine render SET --out DIR: the built-in sets as files in the official layouts, to look at, or for other programs.
#include <filesystem>

#include "data/synthetic.h"
#include "data/synthetic_ijb.h"
#include "engine/core/bytes.h"
#include "engine/core/rng.h"
#include "engine/core/tensor.h"
#include "nn/io/npy.h"
#include "tools/command.h"

namespace vitrine::tools {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string set, out;
  int64_t pairs = 2000;
  int subjects = 80;
};

// Lists of the size of IJB-C, where every template is one face, and random features of people: subject + noise. For speed and memory.
struct FullSize {
  static constexpr int64_t kEnrolled = 3531, kTemplates = 23'124, kProbes = kTemplates - kEnrolled, kSame = 19'557, kDifferent = 15'638'932,
                           kDim = 512;
  static int64_t subject(int64_t t) { return t < kEnrolled ? t : (t - kEnrolled) % kEnrolled; }

  // By the enrolled template, as published lists are: its own probes, then others at equal steps.
  static void write_pairs(std::ostream& out) {
    int64_t same = 0, different = 0;
    for (int64_t a = 0; a < kEnrolled; ++a) {
      const int64_t until = kDifferent * (a + 1) / kEnrolled;
      std::string text;
      for (int64_t j = a; j < kProbes && same < kSame; j += kEnrolled, ++same) text += cat(a + 1, " ", kEnrolled + j + 1, " 1\n");
      const int64_t step = kProbes / (until - different);
      for (int64_t j = a % step; different < until; j = (j + step) % kProbes) {
        if (j % kEnrolled == a) continue;
        text += cat(a + 1, " ", kEnrolled + j + 1, " 0\n"), ++different;
      }
      out << text;
    }
  }

  static void write(const fs::path& dir, uint64_t seed) {
    const auto list = [&](const char* name, auto write) { save_bytes((dir / "meta" / name).string(), write); };
    list("ijbc_face_tid_mid.txt", [](std::ostream& out) {
      for (int64_t t = 1; t <= kTemplates; ++t) out << t << ".jpg " << t << " " << t << "\n";
    });
    list("ijbc_name_5pts_score.txt", [](std::ostream& out) {
      for (int64_t t = 1; t <= kTemplates; ++t)
        out << t << ".jpg 46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648 0." << 500 + t % 500 << "\n";
    });
    list("ijbc_template_pair_label.txt", write_pairs);
    std::vector<float> centres(kEnrolled * kDim), rows;
    Philox rng(seed);
    for (float& v : centres) v = static_cast<float>(rng.normal());
    for (int64_t t = 0; t < kTemplates; ++t)
      for (int64_t k = 0; k < kDim; ++k) rows.push_back(0.5f * centres[subject(t) * kDim + k] + static_cast<float>(rng.normal()));
    io::write_npy((dir / "features.npy").string(), Tensor::from<float>({kTemplates, kDim}, rows));
  }
};

Json render(const Options& o, const Common& c) {
  std::error_code error;
  fs::create_directories(fs::path(o.out) / (o.set.starts_with("ijbc") ? "meta" : "."), error);
  CHECK(!error, o.out, ": cannot be made: ", error.message());
  if (o.set == "ijbc") data::write_ijb(data::synthetic_ijb(c.seed, o.subjects), o.out);
  if (o.set == "ijbc-size") FullSize::write(o.out, c.seed);
  for (data::PairKind kind : data::kPairKinds) {
    if (cat("synthetic-", o.set) != data::pair_list_name(kind)) continue;
    const data::SyntheticPairs list = data::synthetic_pairs(kind, c.seed, o.pairs);
    data::write_images(list.images, o.out);
    data::write_pairs(list, (fs::path(o.out) / "pairs.txt").string());
  }
  say() << o.out << ": " << o.set << "\n";
  return {{"out", o.out}, {"set", o.set}};
}

Command command("render", "built-in sets as files in the official layouts", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  app.add_option("SET", o->set,
                 "lfw, calfw, cplfw, sllfw: crops and pairs.txt; ijbc: loose crops and lists; ijbc-size: lists of IJB-C's size and random "
                 "features.npy, no images")
      ->required()
      ->check(CLI::IsMember({"lfw", "calfw", "cplfw", "sllfw", "ijbc", "ijbc-size"}));
  app.add_option("--out", o->out, "folder to write")->required();
  app.add_option("--pairs", o->pairs, "of a pair list, a multiple of 40")->capture_default_str();
  app.add_option("--subjects", o->subjects, "of ijbc")->capture_default_str();
  return [o](const Common& c) { return render(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
