// vitrine eval MODEL BENCH...: verification accuracy on pair lists. Embeddings of distinct images are computed once per list.
#include <filesystem>
#include <optional>

#include "engine/graph/fuse.h"
#include "eval/report.h"
#include "nn/io/npy.h"
#include "nn/network.h"
#include "tools/benchmarks.h"
#include "tools/command.h"
#include "tools/inference.h"
#include "tools/report.h"
#include "tools/run_record.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string model, data, pairs, embeddings, names, out;
  std::vector<std::string> benchmarks, bins;
  bool flip = true, folds_by_class = false, exact = false;
};

Json evaluate(const Options& o, const Common& c) {
  CHECK(!o.benchmarks.empty() || !o.bins.empty(), "eval: expected a benchmark, or --bin FILE.bin");
  CHECK(o.embeddings.empty() || o.benchmarks.size() + o.bins.size() == 1, "--embeddings goes with one benchmark");
  std::optional<Model> model;
  if (o.embeddings.empty()) model = fused(nn::open_model(o.model, c.seed), o.exact ? Fusion::bits : Fusion::free);
  std::vector<eval::ReportRow> rows;
  Json list = Json::array();
  std::vector<NamedTrials> roc;
  auto report = [&](const Benchmark& b) {
    CHECK(!o.data.empty() || !o.embeddings.empty() || b.images, b.name, ": expected --data DIR, or --embeddings FILE.npy made elsewhere");
    eval::Trials trials = model ? compare_by_model(*model, b, o.data, o.flip) : compare_embeddings(b, o.embeddings, o.names, o.data);
    rows.push_back({b.name, eval::verify(trials)});
    list.push_back(to_json(b, rows.back().result));
    roc.push_back({b.name, std::move(trials)});
  };
  for (const std::string& bench : o.benchmarks) report(open_benchmark(bench, {o.data, o.pairs, o.folds_by_class}, c.seed));
  for (const std::string& file : o.bins) report(open_bin(std::filesystem::path(file).stem().string(), file, o.folds_by_class));
  say() << eval::report_table(rows);
  Json result{{"model", o.model}, {"flip", o.flip}, {"benchmarks", list}};
  if (!o.out.empty()) {
    RunRecord record(o.out, c);
    record.input("model", o.model);
    if (!o.data.empty()) record.input("data", o.data);
    for (const std::string& file : o.bins) record.input(file, file);
    record.config("flip", o.flip);
    for (auto& row : list) record.metrics(row);
    HtmlPage page(cat("Verification by ", o.model));
    add_verification(page, rows, roc);
    page.save(record.path("report.html"));
    record.output("report.html");
    record.finish(result);
  }
  return result;
}

Command command("eval", "verification accuracy: ten folds, 400 thresholds", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "a model file or a network's name (a label only, with --embeddings)")->required();
  app.add_option("BENCH", o->benchmarks, kBenchmarkHelp);
  app.add_option("--bin", o->bins, "InsightFace's .bin: encoded images and pairs in one file; several may be named");
  app.add_option("--data", o->data, "folder of aligned crops");
  app.add_option("--pairs", o->pairs, "pair list, if not where the set has it");
  app.add_option("--embeddings", o->embeddings, ".npy [N,D] made elsewhere; rows in the list's order of first appearance, or see --names");
  app.add_option("--names", o->names, "a path per row of --embeddings, as the list has it or below --data");
  app.add_option("--out", o->out, "run directory for run.json and metrics.jsonl");
  app.add_flag("--flip,!--no-flip", o->flip, "add the embedding of the mirrored image");
  app.add_flag("--folds-by-class", o->folds_by_class,
               "deal same and different pairs of a .bin out to the folds separately: for files with all same pairs first");
  app.add_flag("--exact", o->exact, kExactHelp);
  return [o](const Common& c) { return evaluate(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
