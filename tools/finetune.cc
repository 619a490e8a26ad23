#include "tools/finetune.h"

#include <algorithm>

#include "tools/datasets.h"
#include "tools/progress.h"

namespace vitrine::tools {

namespace {

bool by_views(const FinetuneOptions& o) { return has_term(o.terms, "ekd") && o.ekd_positives == "views"; }
bool is_balanced(const FinetuneOptions& o) {
  return o.sampler == "balanced" || (o.sampler == "auto" && has_term(o.terms, "ekd") && o.ekd_positives == "labels");
}

losses::EkdOptions ekd_of(const FinetuneOptions& o) {
  using Ekd = losses::EkdOptions;
  Ekd e{.teacher_cosine = o.teacher_cosine};
  e.positives = o.ekd_positives == "teacher" ? Ekd::Positives::teacher : by_views(o) ? Ekd::Positives::views : Ekd::Positives::labels;
  e.form = o.ekd_form == "distance" ? Ekd::Form::distance : Ekd::Form::rank;
  e.start = o.ekd_start == "first-batch" ? Ekd::Start::first_batch : o.ekd_start == "unbiased" ? Ekd::Start::unbiased : Ekd::Start::zero;
  return e;
}

// Each image and, half a batch behind it, its mirror image.
data::Batches with_mirrors(data::Batches all) {
  for (auto& batch : all)
    for (size_t i = 0, n = batch.size(); i < n; ++i) batch.push_back({batch[i].index, !batch[i].flip});
  return all;
}

}  // namespace

void add_options(CLI::App& app, FinetuneOptions& o) {
  reads(app.add_option("--data", o.data, kDataHelp));
  reads(app.add_option("--without", o.without, "leave out everybody whom this pair list names: for tests on people no step has seen"));
  app.add_option("--finetune", o.terms, "ekd, mse, ce (a classification head), a sum of them, or none")->capture_default_str();
  app.add_option("--epochs", o.epochs, "passes over the data")->check(positive)->capture_default_str();
  app.add_option("--batch", o.batch, "images per step")->check(positive)->capture_default_str();
  app.add_option("--lr", o.lr, "learning rate; 0 leaves the weights and re-estimates BatchNorm statistics and ranges")
      ->check(not_negative)
      ->capture_default_str();
  app.add_option("--schedule", o.schedule, "of the learning rate")->check(CLI::IsMember({"constant", "cosine"}))->capture_default_str();
  app.add_option("--ce-weight", o.ce_weight, "of the term ce")->check(not_negative)->capture_default_str();
  app.add_option("--momentum", o.momentum, "of SGD, Nesterov's form")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  app.add_option("--weight-decay", o.weight_decay, "of every trainable parameter")->check(not_negative)->capture_default_str();
  app.add_option("--clip", o.clip, "global gradient norm, 0: none")->check(not_negative)->capture_default_str();
  app.add_option(
         "--ekd-positives", o.ekd_positives,
         "which pairs ekd takes for one person's: labels say so, the teacher's cosine does, or only views: an image and its mirror image")
      ->check(CLI::IsMember({"labels", "teacher", "views"}))
      ->capture_default_str();
  app.add_option("--teacher-cosine", o.teacher_cosine, "least of a positive pair by the teacher")
      ->check(CLI::Range(-1.0, 1.0))
      ->capture_default_str();
  app.add_option("--ekd-form", o.ekd_form, "what ekd compares: ranks among thresholds, or distances to them")
      ->check(CLI::IsMember({"rank", "distance"}))
      ->capture_default_str();
  app.add_option("--ekd-start", o.ekd_start, "of ekd's running thresholds")
      ->check(CLI::IsMember({"zero", "first-batch", "unbiased"}))
      ->capture_default_str();
  app.add_option("--dropout", o.dropout, kDropoutHelp)->check(below_one)->capture_default_str();
  app.add_option("--sampler", o.sampler, "balanced (half at random, half identities of 4), shuffled, or auto: balanced for ekd by labels")
      ->check(CLI::IsMember({"auto", "balanced", "shuffled"}))
      ->capture_default_str();
  app.add_option("--fraction", o.fraction, "part of the images to use, chosen by the seed")->check(up_to_one)->capture_default_str();
  reads(app.add_option("--batches", o.batches, "replay a recorded batch order: a line per step, i: image i, -i-1: image i mirrored"));
  app.add_option("--checkpoint-every", o.checkpoint_every, "steps")->check(positive)->capture_default_str();
  app.add_flag("--exact", o.exact, kExactHelp);
  app.add_flag("--resume", o.resume, "go on from the run directory's checkpoint, to the same bits");
}

void write_config(RunRecord& record, const FinetuneOptions& o) {
  record.config("finetune", o.terms), record.config("epochs", o.epochs), record.config("batch", o.batch), record.config("lr", o.lr);
  record.config("momentum", o.momentum), record.config("nesterov", true), record.config("weight_decay", o.weight_decay);
  record.config("clip", o.clip), record.config("fraction", o.fraction), record.config("schedule", o.schedule);
  record.config("ce_weight", o.ce_weight), record.config("sampler", o.sampler), record.config("exact", o.exact);
  record.config("ekd_positives", o.ekd_positives), record.config("teacher_cosine", o.teacher_cosine);
  record.config("ekd_form", o.ekd_form), record.config("ekd_start", o.ekd_start), record.config("dropout", o.dropout);
  if (!o.data.empty()) record.input("data", o.data);
  if (!o.batches.empty()) record.input("batches", o.batches);
  if (!o.without.empty()) record.input("without", o.without);
}

Recipe recipe_of(const FinetuneOptions& o, uint64_t seed) {
  Recipe r;
  r.objective.terms = o.terms, r.objective.ekd = ekd_of(o);
  r.objective.head = {.margin = {.m2 = 0.4}, .seed = seed};  // TFace's ArcFace, as in the paper's Table 3
  r.objective.head.margin.straight = false, r.objective.head.margin.falling = true;
  r.objective.ce_weight = o.ce_weight;
  if (is_balanced(o)) r.objective.ce_images = o.batch / 2;  // the images drawn at random, as there
  r.schedule.kind = o.schedule == "cosine" ? nn::Schedule::Kind::cosine : nn::Schedule::Kind::constant;
  r.schedule.base = o.lr;
  r.momentum = o.momentum, r.weight_decay = o.weight_decay, r.clip = o.clip, r.epochs = o.epochs, r.exact = o.exact;
  r.dropout = o.dropout, r.dropout_seed = seed;
  return r;
}

data::Batches draw(const FinetuneOptions& o, const data::Dataset& set, uint64_t seed, int64_t epoch) {
  if (!o.batches.empty()) return data::read_batches(o.batches, set.size());
  if (by_views(o)) {
    check_usage(o.batch % 2 == 0 && o.sampler != "balanced", "--ekd-positives views: expected an even --batch, drawn shuffled");
    return with_mirrors(data::shuffled_batches(set.size(), o.batch / 2, seed, epoch));
  }
  if (!is_balanced(o)) return data::shuffled_batches(set.size(), o.batch, seed, epoch);
  check_usage(o.batch % 8 == 0, "--batch ", o.batch,
              ": the balanced sampler needs a multiple of 8 (half at random, half identities of 4 images)");
  return data::balanced_batches(data::labels(set), seed, epoch, {o.batch / 2, o.batch / 8, 4});
}

data::Batches draw_as_they_are(const FinetuneOptions& o, const data::Dataset& set, uint64_t seed, int64_t count) {
  auto all = data::shuffled_batches(set.size(), std::min(o.batch, set.size()), seed, 0, false);
  if (static_cast<int64_t>(all.size()) > count) all.resize(count);
  return all;
}

Trained finetune(Model& student, const Model& teacher, const data::Dataset& set, const FinetuneOptions& o, const Recipe& recipe,
                 uint64_t seed, RunRecord& record) {
  return fit(
      student, &teacher, set, [&](int64_t epoch) { return draw(o, set, seed, epoch); }, recipe, record, o.checkpoint_every, o.resume);
}

}  // namespace vitrine::tools
