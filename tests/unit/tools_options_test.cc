// Every option that decides a model is part of its run: it changes the model, and a run of other options is not gone on with.
#include <gtest/gtest.h>

#include <map>

#include "data/codec.h"
#include "data/directory_set.h"
#include "data/sampler.h"
#include "nn/io/model_file.h"
#include "nn/network.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/tools_testing.h"
#include "tools/sha256.h"
#include "tools/training.h"

namespace vitrine::tools {
namespace {

using Words = std::vector<std::string>;

Words joined(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// A tiny teacher, and four people with four images each.
struct Runs : data::Scratch {
  std::string teacher = *this / "teacher.safetensors", images = *this / "images";
  std::string few = write("few.txt", "0 1 2 3 -5 -6 7 8\n4 5 8 9 -11 -12 1 2\n");
  std::string people = write("people.txt", "A/0.png\nA/1.png\nA/0.png\nB/0.png\n");
  std::map<std::string, std::string> made;  // model's sum -> options

  Runs() {
    Model m = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16});
    m.info["shrink"] = "4";
    io::save_model(teacher, m);
    for (int i = 0; i < 16; ++i) {
      const std::string folder = images + "/" + std::string(1, static_cast<char>('A' + i / 4));
      std::filesystem::create_directories(folder);
      data::write_image(cat(folder, "/", i % 4, ".png"), data::gradient(112, 112, 11 * i + 1));
    }
  }
  // `what` with options, which take the place of those it has.
  Words command(Words what, const Words& options, const std::string& out) const {
    for (auto& word : options)
      if (auto at = std::find(what.begin(), what.end(), word); word.starts_with("--") && at != what.end()) what.erase(at, at + 2);
    return joined(joined(what, options), {"--data", images, "--checkpoint-every", "1", "--threads", "1", "--out", *this / out});
  }
  // The model of `what` with options, which no other options gave.
  void expect_new(const Words& what, const Words& options) {
    std::string text;
    for (auto& word : options) text += word + " ";
    std::filesystem::remove_all(*this / "run");
    const Outcome o = vitrine(command(what, options, "run"));
    ASSERT_EQ(o.code, 0) << text << o.err;
    const auto [at, is_new] = made.emplace(sha256_file(*this / "run/model.safetensors"), text);
    EXPECT_TRUE(is_new) << text << "gives the model of " << at->second;
  }
  void expect_refused(const Words& what, Words options) const {  // for the last of the options alone
    while (std::count_if(options.begin(), options.end(), [](auto& word) { return word.starts_with("--"); }) > 1)
      options.erase(options.begin());
    while (!options[0].starts_with("--")) options.erase(options.begin());
    expect_failure(joined(command(what, options, "base"), {"--resume"}), "checkpoint.safetensors: of a");
  }
  void expect_all(const Words& what, const std::vector<Words>& all) {
    ASSERT_EQ(vitrine(command(what, {}, "base")).code, 0);
    made.emplace(sha256_file(*this / "base/model.safetensors"), "no option ");
    for (auto& options : all) {
      expect_new(what, options);
      expect_refused(what, options);
    }
  }
};

TEST(ToolsOptions, OfATrainingChangeTheModelAndAreNotResumedAcross) {
  Runs r;
  r.expect_all({"train", "--side", "28", "--width", "0.0625", "--embedding", "16", "--batch", "16", "--epochs", "3"},
               {{"--seed", "2"},
                {"--loss", "arcface"},
                {"--loss", "softmax"},
                {"--scale", "32"},
                {"--loss", "arcface", "--true-gradient"},
                {"--class-filter", "0.05"},
                {"--batch", "2"},
                {"--batch", "2", "--sample-rate", "0.5"},
                {"--optimiser", "adamw"},
                {"--optimiser", "adamw", "--clip", "1e-9"},
                {"--schedule", "constant"},
                {"--schedule", "cosine"},
                {"--lr", "0.05"},
                {"--warmup", "2"},
                {"--momentum", "0.5"},
                {"--weight-decay", "0.1"},
                {"--clip", "0.1"},
                {"--dropout", "0.3"},
                {"--epochs", "4"},
                {"--batch", "8"},
                {"--batch", "8", "--fraction", "0.5"}});
}

// The margins that --loss names, by the loss of the first step.
TEST(ToolsOptions, LossesHaveThePublishedMargins) {
  Runs r;
  const data::DirectorySet set(r.images);
  for (auto [name, m2, m3] : {std::tuple("cosface", 0.0, 0.4), {"arcface", 0.5, 0.0}, {"softmax", 0.0, 0.0}}) {
    ASSERT_EQ(vitrine(r.command({"train", "--side", "28", "--width", "0.0625", "--embedding", "16", "--batch", "16", "--epochs", "1"},
                                {"--loss", name, "--seed", "3"}, name))
                  .code,
              0);
    Model network = nn::make_model("iresnet18", 3, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16});
    network.info["shrink"] = "4";
    EXPECT_EQ(io::load_model(r / cat(name, "/model.safetensors")).info.at("shrink"), "4");
    Recipe recipe;
    recipe.objective.terms = "ce";
    recipe.objective.head = {.margin = {.m2 = m2, .m3 = m3, .scale = 64}, .seed = 3};
    double ce = 0;
    fit(
        network, nullptr, set, [&](int64_t) { return data::shuffled_batches(16, 16, 3, 0); }, recipe, {},
        [&](const StepMetrics& m) { ce = m.ce; });
    EXPECT_EQ(Json::parse(read_file(r / cat(name, "/metrics.jsonl")))["ce"], ce) << name;
  }
}

TEST(ToolsOptions, OfAQuantizationChangeTheModelAndAreNotResumedAcross) {
  Runs r;
  const Words what{"quantize", r.teacher, "--batch", "8"};
  r.expect_all(what, {{"--seed", "2"},
                      {"--bits", "w4a4"},
                      {"--scheme", "integer"},
                      {"--layer-bits", "conv1=w3a3"},
                      {"--keep-first-last", "float"},
                      {"--bits", "w6a6", "--keep-first-last", "8"},
                      {"--bits", "w6a6", "--keep-first-last", "float"},
                      {"--bits", "w6a6"},
                      {"--observer", "ema"},
                      {"--observer", "mse"},
                      {"--observer", "percentile"},
                      {"--observer", "percentile", "--percentile", "70"},
                      {"--weight-range", "mse"},
                      {"--bits", "w4a4", "--observer", "percentile", "--percentile", "70", "--ste", "clipped"},
                      {"--bits", "w4a4", "--observer", "percentile", "--percentile", "70"},
                      {"--freeze-after", "1"},
                      {"--freeze-after", "3"},
                      {"--bn-reestimate"},
                      {"--bn-reestimate", "--calibration", "1"},
                      {"--dtype", "f64"},
                      {"--finetune", "mse"},
                      {"--epochs", "2"},
                      {"--batch", "16"},
                      {"--lr", "0.02"},
                      {"--schedule", "cosine"},
                      {"--finetune", "ekd+ce"},
                      {"--finetune", "ekd+ce", "--ce-weight", "0.5"},
                      {"--momentum", "0.5"},
                      {"--weight-decay", "0.1"},
                      {"--clip", "0.1"},
                      {"--dropout", "0.3"},
                      {"--sampler", "shuffled"},
                      {"--fraction", "0.6"},
                      {"--batches", r.few},
                      {"--without", r.people},
                      {"--ekd-form", "distance"},
                      {"--ekd-start", "unbiased"},
                      {"--ekd-positives", "views"},
                      {"--ekd-positives", "teacher"},
                      {"--ekd-positives", "teacher", "--teacher-cosine", "1"}});
  Model other = nn::make_model("iresnet18", 2, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16});
  io::save_model(r.teacher, other);
  expect_failure(r.command(what, {"--resume"}, "base"), "of a run with inputs/teacher");
}

TEST(ToolsOptions, OfAPruningChangeTheModelAndAreNotResumedAcross) {
  Runs r;
  r.expect_all({"prune", r.teacher, "--batch", "8"}, {{"--ratio", "0.4"},
                                                      {"--importance", "bn"},
                                                      {"--importance", "fpgm"},
                                                      {"--importance", "taylor"},
                                                      {"--importance", "taylor", "--samples", "2"},
                                                      {"--importance", "taylor", "--published"},
                                                      {"--importance", "hessian"},
                                                      {"--importance", "random"},
                                                      {"--reduction", "first"},
                                                      {"--scope", "global"},
                                                      {"--scope", "global", "--normaliser", "none"},
                                                      {"--scope", "global", "--max-ratio", "0.3"},
                                                      {"--round-to", "2"},
                                                      {"--layer-ratios", "layer1.0.conv1=0.5"},
                                                      {"--protect", "layer2.0.conv1"},
                                                      {"--target", "params=50%"},
                                                      {"--prune-embedding"},
                                                      {"--compensate"},
                                                      {"--lr", "0.01"}});
}

}  // namespace
}  // namespace vitrine::tools
