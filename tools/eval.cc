// vitrine eval MODEL BENCH...: verification accuracy on pair lists, 1:1 and 1:N on IJB. Embeddings of distinct images are computed once
// per list.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "engine/core/bytes.h"
#include "engine/graph/fuse.h"
#include "eval/report.h"
#include "nn/network.h"
#include "tools/benchmarks.h"
#include "tools/command.h"
#include "tools/eval_report.h"
#include "tools/ijb.h"
#include "tools/inference.h"
#include "tools/run_record.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string model, data, pairs, embeddings, names, out, feature_norm = "keep", detector_score = "on", roc = "drop";
  std::vector<std::string> benchmarks, bins;
  bool flip = true, folds_by_class = false, skip_unreadable = false, resume = false, exact = false;
  IjbOptions ijb;
};

// As InsightFace reports it; null for a list with a fold that lacks a class.
Json val_at_far(const eval::Trials& trials) try {
  const eval::ValAtFar v = eval::val_at_far(trials, 1e-3);
  return {{"target", 1e-3}, {"val", v.val}, {"std", v.val_std}, {"far", v.far}};
} catch (const Error&) {
  return nullptr;
}

class Evaluation {
 public:
  Evaluation(const Options& o, const Common& c) : o_(o), c_(c) {
    if (o.embeddings.empty()) {
      model_ = nn::open_model(o.model, c.seed);
      runs_ = fused(to(*model_, device_of(c)), o.exact ? Fusion::bits : Fusion::free);
    }
    if (o.out.empty()) return;
    record_.emplace(o.out, c);
    record_->input("model", o.model);
    record_->config("flip", flips()), record_->config("exact", o.exact), record_->config("skip_unreadable", o.skip_unreadable);
    if (!o.embeddings.empty()) record_->input("embeddings", o.embeddings);
  }

  Json run() {
    check_names();
    for (const std::string& name : o_.benchmarks) {
      if (is_ijb(name))
        run_ijb(name);
      else
        run_pairs(open_benchmark(name, {o_.data, o_.pairs, o_.folds_by_class}, c_.seed));
    }
    for (const std::string& file : o_.bins) run_pairs(open_bin(std::filesystem::path(file).stem().string(), file, o_.folds_by_class));
    if (!rows_.empty()) say() << eval::report_table(rows_);
    Json result{{"model", o_.model}, {"flip", flips()}, {"benchmarks", list_}};
    if (record_) finish(result);
    return result;
  }

 private:
  // Each list's decisions become a file of its name.
  void check_names() const {
    std::vector<std::string> names;
    for (const std::string& spec : o_.benchmarks) names.push_back(spec.substr(0, spec.find('=')));
    for (const std::string& file : o_.bins) names.push_back(std::filesystem::path(file).stem());
    std::set<std::string> seen;
    for (const std::string& name : names) {
      check_usage(!name.empty() && name.find('/') == name.npos, "list '", name, "': expected a name without '/' before '='");
      check_usage(seen.insert(name).second, "list '", name, "': there twice, expected a name of its own for each (NAME=FILE)");
    }
  }
  bool flips() const { return o_.embeddings.empty() ? o_.flip : !o_.ijb.mirrored.empty(); }
  void run_pairs(Benchmark b) {
    check_usage(!o_.data.empty() || !o_.embeddings.empty() || b.images, b.name,
                ": expected --data DIR, or --embeddings FILE.npy made elsewhere");
    std::shared_ptr<const data::Dataset> images;
    try {
      if (model_ || std::filesystem::is_directory(o_.data)) images = images_of(b, o_.data);
    } catch (const Error&) {
      if (model_) throw;  // embeddings need no images; the page then shows no pairs
    }
    eval::Trials trials = model_ ? compare_by_model(*runs_, b, o_.data, o_.flip) : compare_embeddings(b, o_.embeddings, o_.names, o_.data);
    eval::Verification v = eval::verify(trials);
    list_.push_back(to_json(b, v));
    list_.back()["val_at_far"] = val_at_far(trials);
    rows_.push_back({b.name, v});
    pairs_.push_back({std::move(b), std::move(trials), std::move(v), std::move(images)});
    if (!record_) return;
    record_->begin();
    const PairResult& r = pairs_.back();
    if (std::filesystem::exists(r.benchmark.list_file)) record_->input(r.benchmark.name, r.benchmark.list_file);
    save_bytes(record_->path(decisions_file(r.benchmark.name)),
               [&](std::ostream& out) { eval::write_decisions(out, r.benchmark.pairs, r.trials, r.result); });
    record_->output(decisions_file(r.benchmark.name));
  }

  void run_ijb(const std::string& name) {
    const IjbBenchmark b = open_ijb(name, o_.data, c_.seed);
    IjbOptions options = o_.ijb;
    options.embeddings = o_.embeddings, options.device = device_of(c_);
    options.pooling = {o_.feature_norm == "keep", o_.detector_score == "on", o_.flip};
    options.unreadable = o_.skip_unreadable ? data::Unreadable::kSkip : data::Unreadable::kError;
    options.rule = o_.roc == "drop" ? eval::RocRule::kDropIntermediate : eval::RocRule::kEveryPoint;
    std::string fingerprint;
    if (record_) {
      record_->input(name, b.images && name != "synthetic-ijbc" ? b.folder + "/meta" : b.folder);
      record_->config("pooling", eval::name(options.pooling));
      options.shards = record_->path(name + "-shards"), options.resume = o_.resume;
      fingerprint = record_->fingerprint();
    }
    ijb_.push_back(evaluate_ijb(runs_ ? &*runs_ : nullptr, b, options, fingerprint, c_.seed));
    print(say(), ijb_.back());
    list_.push_back(to_json(ijb_.back()));
  }

  void finish(Json result) {
    for (auto& row : list_) record_->metrics(row);
    HtmlPage page(cat("Verification by ", o_.model));
    if (model_) {
      result["card"] = model_card(o_.model, *model_);
      add_card(page, result["card"]);
    }
    if (!pairs_.empty()) add_pair_results(page, pairs_);
    for (auto& r : ijb_) add_ijb_result(page, r);
    page.save(record_->path("report.html"));
    record_->output("report.html");
    record_->finish(result);
  }

  const Options& o_;
  const Common& c_;
  std::optional<Model> model_, runs_;  // as opened; as it runs
  std::optional<RunRecord> record_;
  std::vector<eval::ReportRow> rows_;
  std::vector<PairResult> pairs_;
  std::vector<IjbResult> ijb_;
  Json list_ = Json::array();
};

Json evaluate(const Options& o, const Common& c) {
  check_usage(!o.benchmarks.empty() || !o.bins.empty(), "eval: expected a benchmark, or --bin FILE.bin");
  const auto takes_list = [](const std::string& name) { return !is_ijb(name) && name.find('=') == std::string::npos; };
  check_usage(o.pairs.empty() || std::count_if(o.benchmarks.begin(), o.benchmarks.end(), takes_list) == 1,
              "--pairs: expected exactly one benchmark that is neither NAME=LIST nor IJB");
  check_usage(o.embeddings.empty() || o.benchmarks.size() + o.bins.size() == 1, "--embeddings goes with one benchmark");
  check_usage(!o.resume || !o.out.empty(), "--resume goes with --out DIR, where the finished shards of ijbc and ijbb are");
  return Evaluation(o, c).run();
}

void add_ijb_options(CLI::App& app, Options& o) {
  reads(app.add_option("--mirrored", o.ijb.mirrored, "ijbc, ijbb: .npy of the mirrored images, to be added to --embeddings; without, F0"));
  app.add_option("--feature-norm", o.feature_norm,
                 "ijbc, ijbb: keep the features' lengths (N1 of eval_ijbc.py, which ijb_evals.py calls N0) or make them 1, unit (N0 of "
                 "eval_ijbc.py and TFace, which ijb_evals.py calls N1)")
      ->check(CLI::IsMember({"keep", "unit"}))
      ->capture_default_str();
  app.add_option("--detector-score", o.detector_score,
                 "ijbc, ijbb: weight features by the detector's score, on (D1, in all InsightFace scripts) or off (D0, TFace)")
      ->check(CLI::IsMember({"on", "off"}))
      ->capture_default_str();
  app.add_option("--roc", o.roc,
                 "ijbc, ijbb: points of the curve that count: drop (scikit-learn's drop_intermediate, as published) or all (naive)")
      ->check(CLI::IsMember({"drop", "all"}))
      ->capture_default_str();
  app.add_option("--bootstrap", o.ijb.bootstrap, "ijbc, ijbb: template-level replicates for the intervals, 0: none")
      ->check(CLI::Range(0, 100'000))
      ->capture_default_str();
  app.add_flag("--skip-unreadable", o.skip_unreadable,
               "ijbc, ijbb: leave out images that cannot be read, and count them; without, they are errors");
  app.add_flag("--resume", o.resume, "ijbc, ijbb: go on from the finished shards in --out");
}

Command command("eval", "verification accuracy on pair lists; 1:1 and 1:N on IJB", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("MODEL", o->model, model_help() + " (with --embeddings any label)"))->required();
  reads(app.add_option("BENCH", o->benchmarks, cat(kBenchmarkHelp, "; ijbc, ijbb (DIR/meta, DIR/loose_crop), synthetic-ijbc")));
  reads(app.add_option("--bin", o->bins, "InsightFace's .bin: encoded images and pairs in one file; several may be named"));
  reads(app.add_option("--data", o->data, "folder of aligned crops; of ijbc, ijbb: as distributed"));
  reads(app.add_option("--pairs", o->pairs, "pair list, if not where the set has it"));
  reads(app.add_option(
      "--embeddings", o->embeddings,
      ".npy [N,D] made elsewhere; rows in the list's order of first appearance, or see --names; of ijbc, ijbb: a row per face"));
  reads(app.add_option("--names", o->names, "a path per row of --embeddings, as the list has it or below --data"));
  fills(app.add_option("--out", o->out,
                       "run directory: run.json, metrics.jsonl, report.html, every pair's distance, and for IJB shards to go on from"));
  app.add_flag("--flip,!--no-flip", o->flip, "add the embedding of the mirrored image (F1; F0 without)");
  app.add_flag("--folds-by-class", o->folds_by_class,
               "deal same and different pairs of a .bin out to the folds separately: for files with all same pairs first");
  app.add_flag("--exact", o->exact, kExactHelp);
  add_ijb_options(app, *o);
  return [o](const Common& c) { return evaluate(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
