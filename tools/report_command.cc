// vitrine report A B: two evaluations side by side. Where both decided the same pairs, a paired test says whether they differ.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>

#include "engine/core/bytes.h"
#include "eval/report.h"
#include "eval/uncertainty.h"
#include "tools/command.h"
#include "tools/eval_report.h"

namespace vitrine::tools {
namespace {

using eval::percent;

struct Options {
  std::string a, b, out = "report.html";
};

struct Run {
  std::string folder, name;
  Json result;
  std::map<std::string, Json> benchmarks;
  Json seed;
};

Run open_run(const std::string& folder) {
  const std::string file = (std::filesystem::path(folder) / "run.json").string();
  Run run{.folder = folder};
  try {
    const Json record = Json::parse(load_bytes(file));
    run.result = record.at("result"), run.seed = record.at("seed");
    run.name = run.result.at("model").get<std::string>();
    for (const Json& b : run.result.at("benchmarks")) run.benchmarks[b.at("name").get<std::string>()] = b;
  } catch (const Json::exception&) {
    throw Error(cat(file, ": expected the run.json of `vitrine eval --out DIR`"));
  }
  return run;
}

// One line of the comparison, for people and for machines.
struct Line {
  std::string benchmark, what;
  double a = 0, b = 0;
  std::string interval_a, interval_b, test = "-";
  Json json;
};

std::string interval(const Json& j) {
  return j.contains("interval95") ? cat(percent(j["interval95"][0]), " - ", percent(j["interval95"][1])) : "-";
}

Line compare_pairs(const std::string& name, const Json& a, const Json& b, const Run& run_a, const Run& run_b, std::vector<Curve>& curves) {
  Line line{name, "accuracy", a.at("accuracy"), b.at("accuracy"), interval(a), interval(b)};
  line.json = {{"name", name}, {"a", line.a}, {"b", line.b}};
  std::vector<eval::Decision> decisions[2];
  for (int i = 0; i < 2; ++i) {
    const Run& run = i == 0 ? run_a : run_b;
    decisions[i] = eval::read_decisions((std::filesystem::path(run.folder) / decisions_file(name)).string());
    curves.push_back(curve_of(cat(name, ", ", i == 0 ? "A" : "B"), decisions[i]));
  }
  const auto same_pair = [](const eval::Decision& p, const eval::Decision& q) { return p.same == q.same && p.pair == q.pair; };
  const bool other_faces = a.at("list") == "built in" && run_a.seed != run_b.seed;
  if (other_faces || !std::ranges::equal(decisions[0], decisions[1], same_pair)) {
    line.test = "none: other pairs";
    return line;
  }
  const eval::PairedTest t = eval::mcnemar(decisions[0], decisions[1]);
  char text[96];
  std::snprintf(text, sizeof text, "p = %.2g (%lld only A, %lld only B)", t.p, static_cast<long long>(t.only_a),
                static_cast<long long>(t.only_b));
  line.test = text;
  line.json["only_a"] = t.only_a, line.json["only_b"] = t.only_b, line.json["p"] = t.p;
  return line;
}

std::vector<Line> compare_ijb(const std::string& name, const Json& a, const Json& b, std::vector<Curve>& curves) {
  std::vector<Line> lines;
  for (size_t i = 0; i < a.at("points").size() && i < b.at("points").size(); ++i) {
    const Json &p = a["points"][i], &q = b["points"][i];
    lines.push_back({name, cat("TPR at ", target_name(p.at("target"))), p.at("tpr"), q.at("tpr"), interval(p), interval(q)});
    lines.back().json = {{"name", name}, {"target", p["target"]}, {"a", p["tpr"]}, {"b", q["tpr"]}};
  }
  for (auto [run, which] : {std::pair(&a, "A"), std::pair(&b, "B")}) {
    Curve curve{cat(name, ", ", which), {}, {}};
    for (const Json& point : run->at("curve")) curve.line.push_back({.fpr = point.at(0), .tpr = point.at(1)});
    curves.push_back(std::move(curve));
  }
  return lines;
}

void add_cards(HtmlPage& page, const Run& a, const Run& b) {
  std::vector<std::vector<std::string>> rows;
  const auto cell = [](const Run& run, const std::string& key) -> std::string {
    if (!run.result.contains("card") || !run.result["card"].contains(key)) return "-";
    const Json& v = run.result["card"][key];
    return v.is_string() ? v.get<std::string>() : v.dump();
  };
  const Run& first = a.result.contains("card") ? a : b;
  if (first.result.contains("card"))
    for (auto& [key, value] : first.result["card"].items()) rows.push_back({key, cell(a, key), cell(b, key)});
  if (rows.empty()) return;  // embeddings made elsewhere
  page.heading("Models");
  page.table({"", "A", "B"}, rows);
}

Json report(const Options& o) {
  const Run a = open_run(o.a), b = open_run(o.b);
  std::vector<Line> lines;
  std::vector<Curve> curves;
  try {
    for (const Json& of_a : a.result.at("benchmarks")) {
      const auto name = of_a.at("name").get<std::string>();
      const auto found = b.benchmarks.find(name);
      if (found == b.benchmarks.end()) continue;
      if (of_a.contains("points"))
        for (Line& line : compare_ijb(name, of_a, found->second, curves)) lines.push_back(std::move(line));
      else
        lines.push_back(compare_pairs(name, of_a, found->second, a, b, curves));
    }
  } catch (const Json::exception& e) {
    throw Error(cat(o.a, ", ", o.b, ": run.json: ", brief(e.what())));
  }
  CHECK(!lines.empty(), o.a, " and ", o.b, " have no benchmark in common, expected one");
  HtmlPage page(cat("A: ", a.name, "; B: ", b.name));
  add_cards(page, a, b);
  std::vector<std::vector<std::string>> cells;
  Json list = Json::array();
  for (const Line& l : lines) {
    const double difference = std::abs(l.b - l.a) < 5e-5 ? 0 : l.b - l.a;  // no "-0.00"
    cells.push_back({l.benchmark, l.what, percent(l.a), l.interval_a, percent(l.b), l.interval_b, percent(difference, "%+.2f"), l.test});
    say() << l.benchmark << " " << l.what << ": A " << percent(l.a) << ", B " << percent(l.b) << ", B - A " << cells.back()[6] << ", "
          << l.test << "\n";
    list.push_back(l.json);
  }
  page.heading("Benchmarks");
  page.table({"benchmark", "rate, %", "A", "95 %", "B", "95 %", "B - A", "McNemar, exact"}, cells);
  page.text("McNemar's test looks at the pairs that only one of the two decides correctly; it takes pairs as independent.");
  for (size_t i = 0; i < curves.size(); i += 2)
    add_log_roc(page, curves[i].name.substr(0, curves[i].name.size() - 3), {curves[i], curves[i + 1]});
  page.save(o.out);
  say() << o.out << "\n";
  return {{"benchmarks", list}, {"out", o.out}};
}

Command command("report", "two evaluations side by side, with a paired test", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("A", o->a, "run directory of `vitrine eval --out`"))->required();
  reads(app.add_option("B", o->b, "another"))->required();
  writes(app.add_option("--out", o->out, "page to write"))->capture_default_str();
  return [o](const Common&) { return report(*o); };
});

}  // namespace
}  // namespace vitrine::tools
