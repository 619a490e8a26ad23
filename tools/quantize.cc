// vitrine quantize TEACHER: fake-quantize, calibrate or fine-tune, save; a run directory that says how.
#include <filesystem>

#include "nn/io/model_file.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tools/command.h"
#include "tools/datasets.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/run_record.h"
#include "tools/training.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string teacher, bits = "w8a8", data, finetune = "ekd", scheme = "quantface", sampler = "auto", batches, out;
  std::string layer_bits, ends, observer = "minmax", weight_range = "minmax", ste = "identity";
  int64_t epochs = 1, batch = 64, calibration = 20, freeze_after = 299;
  double percentile = 99.9;
  bool bn_reestimate = false, resume = false;
  int64_t checkpoint_every = 50;
  std::string schedule = "constant";
  double lr = 0.001, ce_weight = 1, fraction = 1, momentum = 0.9, weight_decay = 5e-4, clip = 5;
};

data::Batches draw(const Options& o, const data::Dataset& set, uint64_t seed, int64_t epoch) {
  if (!o.batches.empty()) return data::read_batches(o.batches, set.size());
  if (o.finetune == "none") {  // calibration looks at images as they are
    auto all = data::shuffled_batches(set.size(), std::min(o.batch, set.size()), seed, 0, false);
    if (static_cast<int64_t>(all.size()) > o.calibration) all.resize(o.calibration);
    return all;
  }
  bool balanced = o.sampler == "balanced" || (o.sampler == "auto" && o.finetune.starts_with("ekd"));
  if (!balanced) return data::shuffled_batches(set.size(), o.batch, seed, epoch);
  CHECK(o.batch % 8 == 0, "--batch ", o.batch,
        ": the balanced sampler needs a multiple of 8 (half at random, half identities of 4 images)");
  return data::balanced_batches(data::labels(set), seed, epoch, {o.batch / 2, o.batch / 8, 4});
}

void write_config(RunRecord& record, const Options& o) {
  record.config("bits", o.bits), record.config("scheme", o.scheme), record.config("finetune", o.finetune),
      record.config("epochs", o.epochs);
  record.config("batch", o.batch), record.config("lr", o.lr), record.config("momentum", o.momentum), record.config("nesterov", true);
  record.config("weight_decay", o.weight_decay), record.config("clip", o.clip), record.config("fraction", o.fraction);
  record.config("schedule", o.schedule), record.config("ce_weight", o.ce_weight);
  record.config("sampler", o.sampler), record.config("calibration", o.calibration), record.config("layer_bits", o.layer_bits);
  record.config("keep_first_last", o.ends), record.config("observer", o.observer), record.config("percentile", o.percentile);
  record.config("weight_range", o.weight_range), record.config("ste", o.ste), record.config("freeze_after", o.freeze_after);
  record.config("bn_reestimate", o.bn_reestimate);
  record.input("teacher", o.teacher), record.input("data", o.data);
  if (!o.batches.empty()) record.input("batches", o.batches);
}

quant::QuantSpec spec_of(const Options& o) {
  quant::QuantSpec spec = quant::parse_bits(o.bits);
  spec.ends = o.ends.empty() ? 0 : o.ends == "float" ? quant::kFloat : 8;
  spec.weight_mse = o.weight_range == "mse";
  spec.layers = quant::parse_layer_bits(o.layer_bits);
  return spec;
}

quant::ObserveAttrs rule_of(const Options& o) {
  quant::ObserveAttrs rule;
  rule.rule = quant::observer_named(o.observer), rule.keep = o.percentile;
  return rule;
}

Recipe recipe_of(const Options& o, uint64_t seed) {
  Recipe r;
  r.objective.terms = o.finetune;
  r.objective.head = {.margin = {.m2 = 0.4}, .seed = seed};  // TFace's ArcFace, as in the paper's Table 3
  r.objective.head.margin.straight = false, r.objective.head.margin.falling = true;
  r.objective.ce_weight = o.ce_weight;
  r.schedule.kind = o.schedule == "cosine" ? nn::Schedule::Kind::cosine : nn::Schedule::Kind::constant;
  r.schedule.base = o.lr;
  r.momentum = o.momentum, r.weight_decay = o.weight_decay, r.clip = o.clip, r.epochs = o.epochs;
  r.track_steps = o.freeze_after, r.ranges = rule_of(o), r.clipped = o.ste == "clipped";
  return r;
}

struct Trained {
  int64_t steps = 0, images = 0;
  double loss = 0, seconds = 0;
};

Trained train(Model& student, const Model& teacher, const data::Dataset& set, const Options& o, uint64_t seed, RunRecord& record) {
  Trained t;
  Stopwatch watch;
  if (o.finetune == "none") {
    auto batches = draw(o, set, seed, 0);
    if (o.bn_reestimate) reestimate_batch_norm(student, set, batches, rule_of(o));
    calibrate(student, set, batches, rule_of(o));
    t.steps = static_cast<int64_t>(batches.size());
    for (auto& b : batches) t.images += static_cast<int64_t>(b.size());
  } else {
    const Checkpoint checkpoint{record.path("checkpoint.safetensors"), record.fingerprint(), o.checkpoint_every, o.resume};
    fit(
        student, &teacher, set, [&](int64_t epoch) { return draw(o, set, seed, epoch); }, recipe_of(o, seed), checkpoint,
        [&](const StepMetrics& m) {
          t.steps = m.step, t.images += m.images, t.loss = m.loss;
          record.metrics(to_json(m));
        });
  }
  t.seconds = watch.seconds();
  return t;
}

Json quantize(Options o, const Common& c) {
  CHECK(!o.bn_reestimate || o.finetune == "none", "--bn-reestimate: only with --finetune none; fine-tuning does so in passing");
  if (o.out.empty()) o.out = cat("runs/", std::filesystem::path(o.teacher).stem().string(), "-", o.bits, "-", o.finetune);
  Model teacher = to(nn::open_model(o.teacher, c.seed), device_of(c));
  Model student = (o.scheme == "integer" ? quant::integer : quant::quantface)(teacher, spec_of(o));
  OpenedSet data(o.data, o.fraction, c.seed);
  const data::Dataset& set = data.set();

  RunRecord record(o.out, c, o.resume ? checkpoint_step(o.out + "/checkpoint.safetensors") : 0);
  write_config(record, o);
  say() << o.teacher << " -> " << o.bits << ", " << o.finetune << " on " << set.size() << " images of " << data::count_identities(set)
        << " identities, run in " << o.out << "\n";
  Trained t = train(student, teacher, set, o, c.seed, record);

  student.info["teacher"] = std::filesystem::path(o.teacher).filename();
  student.info["finetune"] = o.finetune;
  io::save_model(record.path("model.safetensors"), student);
  record.output("model.safetensors");
  training_report(record, student, cat(o.teacher, " at ", o.bits, ", ", o.finetune));
  Json result{{"model", record.path("model.safetensors")},
              {"steps", t.steps},
              {"loss", t.loss},
              {"images_per_s", t.seconds > 0 ? static_cast<double>(t.images) / t.seconds : 0},
              {"seconds", t.seconds},
              {"seed", c.seed}};
  record.finish(result);
  say() << record.path("model.safetensors") << ": " << t.steps << " steps in " << t.seconds << " s, last loss " << t.loss << "\n";
  return result;
}

Command command("quantize", "fake-quantize a network and fine-tune it towards its teacher", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  app.add_option("TEACHER", o->teacher, "a model file or a network's name")->required();
  app.add_option("--bits", o->bits, "weights and activations: w<2-16>a<2-16>; 32: float")->capture_default_str();
  app.add_option("--layer-bits", o->layer_bits, "exceptions by layer or range, '*' allowed: conv1=w8a8,layer1.*=w4a8");
  app.add_option("--keep-first-last", o->ends, "leave the first and the last layer at 8 bits or in float")
      ->check(CLI::IsMember({"8", "float"}));
  app.add_option("--data", o->data, kDataHelp)->required();
  app.add_option("--finetune", o->finetune, "ekd, mse, ce (a classification head), a sum of them, or none: ranges only, in evaluation mode")
      ->capture_default_str();
  app.add_option("--epochs", o->epochs, "passes over the data")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--batch", o->batch, "images per step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--lr", o->lr, "learning rate; 0 leaves the weights and re-estimates BatchNorm statistics and ranges")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--schedule", o->schedule, "of the learning rate")->check(CLI::IsMember({"constant", "cosine"}))->capture_default_str();
  app.add_option("--ce-weight", o->ce_weight, "of the term ce")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--momentum", o->momentum, "of SGD, Nesterov's form")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  app.add_option("--weight-decay", o->weight_decay, "of every trainable parameter")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--clip", o->clip, "global gradient norm, 0: none")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--scheme", o->scheme, "where quantizers sit: as published, or on all that integer kernels read")
      ->check(CLI::IsMember({"quantface", "integer"}))
      ->capture_default_str();
  app.add_option("--observer", o->observer, "how ranges follow the activations")
      ->check(CLI::IsMember({"minmax", "ema", "percentile", "mse"}))
      ->capture_default_str();
  app.add_option("--percentile", o->percentile, "of that observer")->check(CLI::Range(50.1, 100.0))->capture_default_str();
  app.add_option("--weight-range", o->weight_range, "of each output channel: its extremes, or the least squared error")
      ->check(CLI::IsMember({"minmax", "mse"}))
      ->capture_default_str();
  app.add_option("--freeze-after", o->freeze_after, "steps in which ranges follow")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--ste", o->ste, "gradients outside a range pass (identity, as published) or not (clipped)")
      ->check(CLI::IsMember({"identity", "clipped"}))
      ->capture_default_str();
  app.add_flag("--bn-reestimate", o->bn_reestimate, "with --finetune none: BatchNorm's statistics anew, in the quantized network");
  app.add_option("--sampler", o->sampler, "balanced (half at random, half identities of 4), shuffled, or auto: balanced for ekd")
      ->check(CLI::IsMember({"auto", "balanced", "shuffled"}))
      ->capture_default_str();
  app.add_option("--calibration", o->calibration, "batches for --finetune none")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--fraction", o->fraction, "part of the images to use, chosen by the seed")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--batches", o->batches, "replay a recorded batch order: a line per step, i: image i, -i-1: image i mirrored");
  app.add_option("--checkpoint-every", o->checkpoint_every, "steps")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_flag("--resume", o->resume, "go on from the run directory's checkpoint, to the same bits");
  app.add_option("--out", o->out, "run directory, default runs/<teacher>-<bits>-<finetune>");
  return [o](const Common& c) { return quantize(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
