// vitrine demo: the pipeline from network to quantized student on images it makes itself. Each identity is a smooth random pattern, each
// image of it that pattern shifted, dimmed and with noise: no faces, but a verification task that a network, even an untrained one, can
// mostly do and that too few bits make harder.
#include <cmath>

#include "engine/core/rng.h"
#include "eval/report.h"
#include "nn/io/model_file.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tools/benchmarks.h"
#include "tools/command.h"
#include "tools/distill.h"
#include "tools/run_record.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string out = "runs/demo";
  bool quick = false;
};

constexpr int kSide = 112;

// Eight plane waves per colour; the identity's stream decides them.
data::Image pattern(uint64_t seed, int64_t identity, int64_t shot) {
  Philox who(seed, 2 * static_cast<uint64_t>(identity)),
      how(seed, (static_cast<uint64_t>(identity) << 20 | static_cast<uint64_t>(shot)) * 2 + 1);
  constexpr int kWaves = 8;
  double fx[3][kWaves], fy[3][kWaves], phase[3][kWaves];
  for (int c = 0; c < 3; ++c)
    for (int k = 0; k < kWaves; ++k)
      fx[c][k] = who.normal() * 0.12, fy[c][k] = who.normal() * 0.12, phase[c][k] = 6.2831853 * who.uniform();
  double dx = 6 * how.normal(), dy = 6 * how.normal(), light = 0.7 + 0.6 * how.uniform(), noise = 14 + 14 * how.uniform();
  data::Image image(kSide, kSide);
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x)
      for (int c = 0; c < 3; ++c) {
        double v = 0;
        for (int k = 0; k < kWaves; ++k) v += std::sin(fx[c][k] * (x + dx) + fy[c][k] * (y + dy) + phase[c][k]);
        v = 127.5 + light * 28 * v + noise * how.normal();
        image.row(y)[3 * x + c] = static_cast<uint8_t>(std::clamp(v, 0.0, 255.0));
      }
  return image;
}

data::MemorySet make_set(uint64_t seed, int64_t first_identity, int64_t identities, int64_t shots) {
  std::vector<data::Image> images;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < identities; ++i)
    for (int64_t s = 0; s < shots; ++s) {
      images.push_back(pattern(seed, first_identity + i, s));
      labels.push_back(i);
    }
  return {std::move(images), std::move(labels)};
}

// As many same as different pairs, in ten folds that share no identity.
eval::PairList make_pairs(int64_t identities, int64_t shots) {
  eval::PairList list{"patterns", {}, {}, 10};
  for (int64_t i = 0; i < identities * shots; ++i) list.images.push_back(std::to_string(i));
  int64_t per_fold = identities / 10;
  for (int64_t i = 0; i < identities; ++i)
    for (int64_t a = 0; a < shots; ++a)
      for (int64_t b = a + 1; b < shots; ++b) {
        int fold = static_cast<int>(i / per_fold);
        int64_t other = fold * per_fold + (i - fold * per_fold + 1 + (a + b) % (per_fold - 1)) % per_fold;
        list.pairs.push_back({static_cast<int>(i * shots + a), static_cast<int>(i * shots + b), true, fold});
        list.pairs.push_back({static_cast<int>(i * shots + a), static_cast<int>(other * shots + b), false, fold});
      }
  return list;
}

Json demo(const Options& o, const Common& c) {
  int64_t identities = o.quick ? 80 : 320, test_identities = o.quick ? 40 : 120, shots = 4;
  RunRecord record(o.out, c);
  data::MemorySet train = make_set(c.seed, 0, identities, shots), test = make_set(c.seed, 1000000, test_identities, shots);
  eval::PairList pairs = make_pairs(test_identities, shots);
  nn::NetworkOptions size;
  size.channels = 0.125;
  Model teacher = nn::make_model("iresnet18", c.seed, size);
  say() << "demo: a small untrained IResNet-18 as the teacher, " << train.size() << " images of " << identities << " patterns to adapt on, "
        << pairs.pairs.size() << " pairs of other patterns to verify\n";

  std::vector<eval::ReportRow> rows;
  Json list = Json::array();
  auto row = [&](const std::string& name, const Model& m) {
    rows.push_back({name, verify_model(m, pairs, test, true)});
    list.push_back(to_json({name, "built in", pairs}, rows.back().result));
    record.metrics(list.back());
  };
  row("f32", teacher);
  for (const char* bits : {"w8a8", "w6a6", "w4a4"}) {
    Model ranges = quant::quantface(teacher, quant::parse_bits(bits)), ekd = clone(ranges);
    calibrate(ranges, train, data::shuffled_batches(train.size(), 64, c.seed, 0, false));
    row(cat(bits, ", ranges only"), ranges);
    finetune(ekd, teacher, train, data::balanced_batches(data::labels(train), c.seed, 0), {});
    row(cat(bits, ", EKD"), ekd);
    io::save_model(record.path(cat(bits, ".safetensors")), ekd);
    record.output(cat(bits, ".safetensors"));
  }
  say() << "\n" << eval::report_table(rows) << "\nModels and run.json: " << o.out << "\n";
  Json result{{"benchmarks", list}, {"out", o.out}};
  record.finish(result);
  return result;
}

Command command("demo", "the whole pipeline on built-in images", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  app.add_option("--out", o->out, "run directory")->capture_default_str();
  app.add_flag("--quick", o->quick, "a smaller set, within a minute");
  return [o](const Common& c) { return demo(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
