// vitrine quantize TEACHER: fake-quantize, calibrate or fine-tune, save; a run directory that says how.
#include <filesystem>

#include "engine/graph/rewrite.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tools/command.h"
#include "tools/datasets.h"
#include "tools/finetune.h"
#include "tools/progress.h"
#include "tools/report.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string teacher, bits = "w8a8", scheme = "quantface", out;
  std::string layer_bits, ends, observer = "minmax", weight_range = "minmax", ste = "identity", dtype = "f32";
  int64_t calibration = 20, freeze_after = 299;
  double percentile = 99.9;
  bool bn_reestimate = false;
  FinetuneOptions tune;
};

void write_config(RunRecord& record, const Options& o) {
  record.config("bits", o.bits), record.config("scheme", o.scheme);
  record.config("calibration", o.calibration), record.config("layer_bits", o.layer_bits);
  record.config("keep_first_last", o.ends), record.config("observer", o.observer), record.config("percentile", o.percentile);
  record.config("weight_range", o.weight_range), record.config("ste", o.ste), record.config("freeze_after", o.freeze_after);
  record.config("bn_reestimate", o.bn_reestimate), record.config("dtype", o.dtype);
  record.input("teacher", o.teacher);
  write_config(record, o.tune);
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

void prepare(Model& student, const data::Dataset& set, const data::Batches& batches, const Options& o) {
  if (o.bn_reestimate) reestimate_batch_norm(student, set, batches, rule_of(o));
  calibrate(student, set, batches, rule_of(o));
}

Trained train(Model& student, const Model& teacher, const data::Dataset& set, const Options& o, uint64_t seed, RunRecord& record) {
  if (o.tune.terms != "none") {
    CHECK(o.freeze_after > 0 || o.bn_reestimate,
          "--freeze-after 0: ranges would stay at 0, expected a step in which they follow, or --bn-reestimate");
    if (o.bn_reestimate) prepare(student, set, draw_as_they_are(o.tune, set, seed, o.calibration), o);
    Recipe r = recipe_of(o.tune, seed);
    r.track_steps = o.freeze_after, r.ranges = rule_of(o), r.clipped = o.ste == "clipped";
    return finetune(student, teacher, set, o.tune, r, seed, record);
  }
  Trained t;
  Stopwatch watch;
  auto batches = o.tune.batches.empty() ? draw_as_they_are(o.tune, set, seed, o.calibration) : draw(o.tune, set, seed, 0);
  prepare(student, set, batches, o);
  t.steps = static_cast<int64_t>(batches.size());
  for (auto& b : batches) t.images += static_cast<int64_t>(b.size());
  t.seconds = watch.seconds();
  return t;
}

Json quantize(Options o, const Common& c) {
  if (o.out.empty()) o.out = default_directory(o.teacher, cat(o.bits, "-", o.tune.terms));
  const Dtype dtype = o.dtype == "f64" ? Dtype::f64 : Dtype::f32;
  const Model teacher = with_dtype(to(nn::open_model(o.teacher, c.seed), device_of(c)), dtype);
  Model student = (o.scheme == "integer" ? quant::integer : quant::quantface)(teacher, spec_of(o));
  OpenedSet data(o.tune.data, o.tune.fraction, c.seed, o.tune.without);
  const data::Dataset& set = data.set();

  RunRecord record(o.out, c);
  write_config(record, o);
  prepare_run(record, o.tune.resume);
  say() << o.teacher << " -> " << o.bits << ", " << o.tune.terms << " on " << set.size() << " images of " << data::count_identities(set)
        << " identities, run in " << o.out << "\n";
  Trained t = train(student, teacher, set, o, c.seed, record);
  student = with_dtype(student, Dtype::f32);

  student.info["teacher"] = std::filesystem::path(o.teacher).filename();
  student.info["finetune"] = o.tune.terms;
  return finish_training(record, student, cat(o.teacher, " at ", o.bits, ", ", o.tune.terms), t, c.seed);
}

Command command("quantize", "fake-quantize a network and fine-tune it towards its teacher", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("TEACHER", o->teacher, model_help()))->required();
  app.add_option("--bits", o->bits, "weights and activations: w<2-16>a<2-16>; 32: float")->check(bit_widths)->capture_default_str();
  app.add_option("--layer-bits", o->layer_bits, "exceptions by layer or range, '*' allowed: conv1=w8a8,layer1.*=w4a8")
      ->check(parsed_by([](const std::string& text) { quant::parse_layer_bits(text); }));
  app.add_option("--keep-first-last", o->ends, "leave the first and the last layer at 8 bits or in float")
      ->check(CLI::IsMember({"8", "float"}));
  add_options(app, o->tune);
  app.get_option("--data")->required();
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
  app.add_option("--freeze-after", o->freeze_after, "steps in which ranges follow")->check(not_negative)->capture_default_str();
  app.add_option("--ste", o->ste, "gradients outside a range pass (identity, as published) or not (clipped)")
      ->check(CLI::IsMember({"identity", "clipped"}))
      ->capture_default_str();
  app.add_option("--dtype", o->dtype, "of all arithmetic; f64 is for audits: slow, and what f32 would give without its roundings")
      ->check(CLI::IsMember({"f32", "f64"}))
      ->capture_default_str();
  app.add_flag("--bn-reestimate", o->bn_reestimate,
               "BatchNorm's statistics and all ranges anew from the calibration batches, before fine-tuning too");
  app.add_option("--calibration", o->calibration, "batches for --finetune none and --bn-reestimate")
      ->check(positive)
      ->capture_default_str();
  fills(app.add_option("--out", o->out, "run directory, default runs/<teacher>-<bits>-<finetune>"));
  return [o](const Common& c) { return quantize(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
