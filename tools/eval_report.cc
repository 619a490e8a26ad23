#include "tools/eval_report.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "data/codec.h"
#include "engine/graph/graph.h"
#include "eval/report.h"
#include "quant/placement.h"
#include "tools/sha256.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

using eval::percent;

constexpr int kBins = 80;
constexpr size_t kHardest = 8;  // pairs of either class

std::string format(const char* pattern, double value) {
  char text[32];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

std::string png_of(const data::Dataset& set, int64_t i) {
  const auto bytes = data::encode_png(set.image(i));
  return {bytes.begin(), bytes.end()};
}

// The pairs on the wrong side of their fold's threshold, or nearest to it, worst first.
void add_hardest(HtmlPage& page, const PairResult& r, bool same) {
  std::vector<std::pair<double, size_t>> by_margin;  // how far on the wrong side
  for (size_t i = 0; i < r.trials.all.size(); ++i) {
    const auto& t = r.trials.all[i];
    if (t.same != same) continue;
    const double beyond = t.distance - r.result.folds[t.fold].threshold;
    by_margin.push_back({same ? beyond : -beyond, i});
  }
  std::sort(by_margin.rbegin(), by_margin.rend());
  by_margin.resize(std::min(kHardest, by_margin.size()));
  std::vector<Picture> pictures;
  for (auto& [margin, i] : by_margin) {
    const eval::Pair& p = r.benchmark.pairs.pairs[i];
    const auto& names = r.benchmark.pairs.images;
    pictures.push_back({{png_of(*r.images, p.a), png_of(*r.images, p.b)},
                        cat(names[p.a], ", ", names[p.b], ": distance ", format("%.3f", r.trials.all[i].distance), ", threshold ",
                            format("%.2f", r.result.folds[r.trials.all[i].fold].threshold), margin >= 0 ? ": wrong" : "")});
  }
  page.text(same ? "Same person, but far apart:" : "Different people, but close:");
  page.gallery(pictures);
}

}  // namespace

Json model_card(const std::string& file, const Model& m) {
  const auto info = [&](const char* key, const char* otherwise) { return m.info.count(key) ? m.info.at(key) : std::string(otherwise); };
  const std::string bits = info("bits", "f32");
  const Sizes s = sizes(m, bits == "f32" ? 32 : quant::parse_bits(bits).weight_bits);
  const Count c = count(m.graph);
  Json card{{"model", file},
            {"sha256", std::filesystem::is_regular_file(file) ? sha256_file(file) : "built in, random weights"},
            {"architecture", info("arch", "-")},
            {"bits", bits},
            {"parameters", c.params},
            {"MACs", c.macs},
            {"bytes, float", s.float_bytes},
            {"bytes, packed", bits == "f32" ? Json("-") : Json(s.packed_bytes)},
            {"input", str(m.graph.values[m.graph.inputs.at(0)].meta)}};
  return card;
}

void add_card(HtmlPage& page, const Json& card) {
  std::vector<std::vector<std::string>> rows;
  for (auto& [key, value] : card.items()) rows.push_back({key, value.is_string() ? value.get<std::string>() : value.dump()});
  page.heading("Model");
  page.table({"", ""}, rows);
}

void add_histogram(HtmlPage& page, const std::string& title, const std::string& x_label, const std::vector<double>& same,
                   const std::vector<double>& different) {
  if (same.empty() || different.empty()) return;
  double low = same[0], high = same[0];
  for (auto* scores : {&same, &different})
    for (double v : *scores) low = std::min(low, v), high = std::max(high, v);
  const double width = std::max((high - low) / kBins, 1e-9);
  Plot plot{title, x_label, "share of the class, %", {}};
  for (auto [name, scores] : {std::pair("same person", &same), std::pair("different people", &different)}) {
    std::vector<double> share(kBins);
    for (double v : *scores) share[std::min(kBins - 1, static_cast<int>((v - low) / width))] += 100.0 / static_cast<double>(scores->size());
    Series s{name, {low}, {0}, false, true};
    for (int bin = 0; bin < kBins; ++bin)
      s.x.insert(s.x.end(), {low + bin * width, low + (bin + 1) * width}), s.y.insert(s.y.end(), {share[bin], share[bin]});
    s.x.push_back(low + kBins * width), s.y.push_back(0);
    plot.series.push_back(std::move(s));
  }
  page.plot(plot);
}

Curve curve_of(const std::string& name, const std::vector<eval::Decision>& decisions) {
  eval::ScoreSet set;
  for (auto& d : decisions) (d.same ? set.same : set.different).push_back(-d.distance);
  if (set.same.empty() || set.different.empty()) return {name, {}, {}};
  eval::sort_descending(set.same), eval::sort_descending(set.different);
  std::vector<double> targets;
  for (double target : {1e-3, 1e-2, 1e-1})
    if (target * static_cast<double>(set.different.size()) >= 1) targets.push_back(target);
  return {name, eval::roc_curve(set), eval::tpr_at_fpr(set, targets, eval::RocRule::kEveryPoint)};
}

void add_log_roc(HtmlPage& page, const std::string& title, const std::vector<Curve>& curves) {
  Plot plot{title, "false positive rate", "true positive rate", {}, true};
  for (auto& curve : curves)
    for (bool dots : {false, true}) {
      Series s{.name = curve.name, .attached = dots};
      for (auto& p : dots ? curve.dots : curve.line) s.x.push_back(p.fpr), s.y.push_back(p.tpr);
      plot.series.push_back(std::move(s));
    }
  page.plot(plot);
}

void add_pair_results(HtmlPage& page, const std::vector<PairResult>& all) {
  std::vector<std::vector<std::string>> cells;
  std::vector<Curve> curves;
  for (auto& r : all) {
    const auto& v = r.result;
    const auto interval = eval::wilson(v.correct, v.pairs);
    cells.push_back({r.benchmark.name, cat(v.pairs), cat(v.correct), percent(v.accuracy),
                     cat(percent(interval.low), " - ", percent(interval.high)), percent(v.std)});
    curves.push_back(curve_of(r.benchmark.name, eval::decide(r.trials, r.result)));
  }
  page.heading("Verification, ten folds");
  page.table({"list", "pairs", "correct", "accuracy %", "95 % interval", "std of folds"}, cells);
  add_log_roc(page, "Receiver operating characteristic, all pairs of a list", curves);
  for (auto& r : all) {
    page.heading(r.benchmark.name);
    std::vector<double> distances[2];
    for (auto& t : r.trials.all) distances[t.same].push_back(t.distance);
    add_histogram(page, cat(r.benchmark.name, ": distances"), "squared distance of unit embeddings", distances[1], distances[0]);
    if (!r.images) continue;
    for (bool same : {true, false}) add_hardest(page, r, same);
  }
}

void add_ijb_result(HtmlPage& page, const IjbResult& r) {
  page.heading(cat(r.name, ", ", r.protocol));
  page.text(cat(r.faces, " images, ", r.templates, " templates, ", r.same, " same and ", r.pairs - r.same, " different pairs",
                r.note.empty() ? "" : "; ", r.note, "."));
  if (r.skipped > 0) page.text(cat(r.skipped, " images could not be read and were left out; ", r.empty_templates, " templates are empty."));
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < r.points.size(); ++i) {
    const auto& p = r.points[i];
    rows.push_back({target_name(p.target), cat(p.accepted_different), cat(p.accepted_same), percent(p.tpr),
                    r.intervals.empty() ? "-" : cat(percent(r.intervals[i].low), " - ", percent(r.intervals[i].high)),
                    format("%.5f", p.threshold)});
  }
  page.table({"FPR", "different accepted", "same accepted", "TPR %", "95 % interval", "threshold"}, rows);
  std::vector<eval::OperatingPoint> dots;
  for (auto& p : r.points)
    if (p.accepted_different > 0) dots.push_back(p);
  add_log_roc(page, cat(r.name, ": receiver operating characteristic"), {{r.name, r.curve, dots}});
  add_histogram(page, cat(r.name, ": scores"), "cosine of templates", r.same_sample, r.different_sample);
  if (r.open.empty()) return;
  std::ostringstream text;
  print_search(text, r);
  std::string line;
  for (std::istringstream in(text.str()); std::getline(in, line);) page.text(line);
}

std::string decisions_file(const std::string& benchmark) { return cat("pairs-", benchmark, ".tsv"); }

}  // namespace vitrine::tools
