// vitrine train: a network from scratch, as a classifier of identities with an angular margin.
#include "data/dataset.h"
#include "nn/network.h"
#include "tools/command.h"
#include "tools/datasets.h"
#include "tools/report.h"
#include "tools/run_record.h"
#include "tools/training.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string arch = "iresnet18", loss = "cosface", data, out, optimiser = "sgd", schedule = "polynomial";
  int64_t epochs = 20, batch = 128, side = 112, embedding = 0, checkpoint_every = 200, warmup = 0;
  double width = 1, lr = 0.1, momentum = 0.9, weight_decay = 5e-4, clip = 5, fraction = 1, scale = 64, sample_rate = 1, filter = 0,
         dropout = 0;
  bool true_gradient = false, resume = false, exact = false;
};

losses::Margin margin_of(const Options& o) {
  losses::Margin m{.scale = o.scale, .straight = !o.true_gradient};
  if (o.loss == "cosface") m.m2 = 0, m.m3 = 0.4;
  if (o.loss == "softmax") m.m2 = 0;
  m.filter = o.filter;
  return m;
}

Recipe recipe_of(const Options& o, uint64_t seed) {
  using Kind = nn::Schedule::Kind;
  Recipe r;
  r.objective.terms = "ce";
  r.objective.head = {.margin = margin_of(o), .sample_rate = o.sample_rate, .seed = seed};
  r.optimiser = o.optimiser;
  r.schedule = {.kind = o.schedule == "cosine"       ? Kind::cosine
                        : o.schedule == "polynomial" ? Kind::polynomial
                                                     : Kind::constant,
                .base = o.lr,
                .warmup = o.warmup};
  r.momentum = o.momentum, r.weight_decay = o.weight_decay, r.clip = o.clip, r.epochs = o.epochs, r.exact = o.exact;
  r.dropout = o.dropout, r.dropout_seed = seed;
  return r;
}

void write_config(RunRecord& record, const Options& o) {
  auto set = [&](const char* name, const Json& value) { record.config(name, value); };
  set("arch", o.arch), set("width", o.width), set("side", o.side), set("embedding", o.embedding);
  set("loss", o.loss), set("scale", o.scale), set("true_gradient", o.true_gradient), set("sample_rate", o.sample_rate);
  set("optimiser", o.optimiser), set("schedule", o.schedule), set("lr", o.lr), set("warmup", o.warmup), set("momentum", o.momentum);
  set("weight_decay", o.weight_decay), set("clip", o.clip), set("epochs", o.epochs), set("batch", o.batch), set("fraction", o.fraction);
  set("exact", o.exact), set("class_filter", o.filter), set("dropout", o.dropout);
  record.input("data", o.data);
}

Json train(Options o, const Common& c) {
  check_usage(o.side > 0 && 112 % o.side == 0, "--side ", o.side, ": a divisor of 112 expected");
  if (o.out.empty()) o.out = cat("runs/", o.arch, "-", o.loss);
  OpenedSet data(o.data, o.fraction, c.seed);
  const data::Dataset& set = data.set();
  nn::NetworkOptions size{.height = o.side, .width = o.side, .channels = o.width, .embedding = o.embedding};
  Model network = to(nn::make_model(o.arch, c.seed, size), device_of(c));
  network.info["shrink"] = std::to_string(112 / o.side);

  RunRecord record(o.out, c);
  write_config(record, o);
  prepare_run(record, o.resume);
  say() << o.arch << ", " << o.loss << " on " << set.size() << " images of " << data::count_identities(set) << " identities, run in "
        << o.out << "\n";
  const Trained t = fit(
      network, nullptr, set,
      [&](int64_t epoch) { return data::shuffled_batches(set.size(), o.batch, c.seed, static_cast<uint64_t>(epoch)); },
      recipe_of(o, c.seed), record, o.checkpoint_every, o.resume);
  return finish_training(record, network, cat(o.arch, ", ", o.loss), t, c.seed);
}

Command command("train", "a network from scratch", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("--data", o->data, kDataHelp))->required();
  app.add_option("--arch", o->arch, names_of_networks())->capture_default_str();
  app.add_option("--width", o->width, "multiplies IResNet's channels")->check(CLI::Range(0.01, 4.0))->capture_default_str();
  app.add_option("--side", o->side, "of the network's input; images are averaged down to it")->capture_default_str();
  app.add_option("--embedding", o->embedding, "numbers, 0: the network's own")->check(not_negative)->capture_default_str();
  app.add_option("--loss", o->loss, "margin of the head")->check(CLI::IsMember({"arcface", "cosface", "softmax"}))->capture_default_str();
  app.add_option("--scale", o->scale, "of the head's cosines")->check(positive)->capture_default_str();
  app.add_flag("--true-gradient", o->true_gradient, "of the margin, where published code lets all pass");
  app.add_option("--sample-rate", o->sample_rate, "partial FC: share of the classes a step sees")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--class-filter", o->filter, "leaves out other classes nearer than this cosine: perhaps the same person; 0: none")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--optimiser", o->optimiser, "of the network's weights")->check(CLI::IsMember({"sgd", "adamw"}))->capture_default_str();
  app.add_option("--schedule", o->schedule, "of the learning rate")
      ->check(CLI::IsMember({"constant", "polynomial", "cosine"}))
      ->capture_default_str();
  app.add_option("--lr", o->lr, "learning rate")->check(not_negative)->capture_default_str();
  app.add_option("--warmup", o->warmup, "steps")->check(not_negative)->capture_default_str();
  app.add_option("--momentum", o->momentum, "of SGD, Nesterov's form")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  app.add_option("--weight-decay", o->weight_decay, "of every trainable parameter")->check(not_negative)->capture_default_str();
  app.add_option("--clip", o->clip, "global gradient norm, 0: none")->check(not_negative)->capture_default_str();
  app.add_option("--dropout", o->dropout, kDropoutHelp)->check(below_one)->capture_default_str();
  app.add_option("--epochs", o->epochs, "passes over the data")->check(positive)->capture_default_str();
  app.add_option("--batch", o->batch, "images per step")->check(positive)->capture_default_str();
  app.add_option("--fraction", o->fraction, "part of the images to use")->check(up_to_one)->capture_default_str();
  app.add_option("--checkpoint-every", o->checkpoint_every, "steps")->check(positive)->capture_default_str();
  app.add_flag("--exact", o->exact, kExactHelp);
  app.add_flag("--resume", o->resume, "go on from the run directory's checkpoint, to the same bits");
  fills(app.add_option("--out", o->out, "run directory, default runs/<arch>-<loss>"));
  return [o](const Common& c) { return train(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
