// vitrine reproduce table1 .. table5: the paper's claims beside what our files give, or, with --synthetic, the same tables in small.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "eval/report.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tools/benchmarks.h"
#include "tools/command.h"
#include "tools/eval_report.h"
#include "tools/ijb.h"
#include "tools/paper.h"
#include "tools/reproduce_synthetic.h"
#include "tools/run_record.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string table, data, models, out = "runs/reproduce";
  bool synthetic = false;
};

struct Measured {
  double value = 0;
  std::optional<eval::Interval> interval;
};

// Computes what claims ask for, each model and benchmark once, and collects what is missing.
class Laboratory {
 public:
  Laboratory(const Options& o, const Common& c) : o_(o), c_(c) {}

  std::optional<Measured> measure(const Claim& claim) {
    const std::string file = model_file(claim);
    if (claim.measure == Measure::kParameters || claim.measure == Measure::kSize) return cost(claim, file);
    const bool data = has_data(claim.measure);
    if (!fs::exists(file)) {
      missing_.insert(cat(file, ": ", how_to_make(claim, file)));
      return {};
    }
    return data ? rate(file, claim.measure) : std::optional<Measured>();
  }

  const std::set<std::string>& missing() const { return missing_; }

 private:
  const Model& architecture(const std::string& network) {
    auto found = architectures_.find(network);
    if (found == architectures_.end()) found = architectures_.emplace(network, nn::make_model(network, c_.seed)).first;
    return found->second;
  }

  // Parameters and bytes follow from the architecture, but for pruned networks, whose file is needed.
  std::optional<Measured> cost(const Claim& claim, const std::string& file) {
    const std::string setting = claim.setting;
    const bool known = setting == "f32" || setting == "w8a8" || setting == "w6a6";
    if (!known && !fs::exists(file)) {
      missing_.insert(cat(file, ": ", how_to_make(claim, file)));
      return {};
    }
    const Model read = known ? Model() : nn::open_model(file, c_.seed);
    const Graph& g = known ? architecture(claim.network).graph : read.graph;
    if (claim.measure == Measure::kParameters) return Measured{1e-6 * static_cast<double>(count(g).params), {}};
    const bool packed = known && setting != "f32";
    const int64_t bytes = packed ? sizes(g, quant::parse_bits(setting).weight_bits).packed_bytes : sizes(g, 32).float_bytes;
    return Measured{1e-6 * static_cast<double>(bytes), {}};
  }

  // MODELS/iresnet18.safetensors, MODELS/iresnet18-w6a6.safetensors, MODELS/iresnet34-w6a6-half-of-the-data.safetensors
  std::string model_file(const Claim& claim) const {
    std::string name = claim.network;
    const std::string setting = claim.setting;
    if (setting != "f32") name += "-" + setting;
    for (char& c : name)
      if (c == ' ') c = '-';
    std::erase(name, ',');
    return (fs::path(o_.models) / (name + ".safetensors")).string();
  }

  std::string how_to_make(const Claim& claim, const std::string& file) const {
    const std::string teacher = (fs::path(o_.models) / cat(claim.network, ".safetensors")).string(), setting = claim.setting;
    if (setting == "f32")
      return cat("vitrine convert glint360k_cosface_r", std::string(claim.network).substr(7), "_fp16_0.1/backbone.pth ", file);
    if (setting == "pruned") return cat("vitrine prune ", teacher, " --ratio 0.2 --finetune ekd --data LFW_112");
    if (setting == "w8a8" || setting == "w6a6")
      return cat("vitrine quantize ", teacher, " --bits ", setting, " --finetune ekd --data LFW_112");
    return cat("a model of '", setting, "'");
  }

  static bool is_ijbc(Measure m) { return m == Measure::kIjbc4 || m == Measure::kIjbc5; }
  static std::string benchmark(Measure m) {
    constexpr const char* kNames[] = {"", "", "lfw", "calfw", "cplfw", "sllfw", "ijbc", "ijbc"};
    return kNames[static_cast<int>(m)];
  }

  bool has_data(Measure measure) {
    const std::string name = benchmark(measure);
    auto [found, fresh] = data_.try_emplace(name, false);
    if (!fresh) return found->second;
    try {
      if (is_ijbc(measure))
        check_ijb(name, o_.data);
      else
        open_benchmark(name, {.data = o_.data}, c_.seed);
      found->second = true;
    } catch (const Error& e) {
      missing_.insert(e.what());
    }
    return found->second;
  }

  std::optional<Measured> rate(const std::string& file, Measure measure) {
    const std::string name = benchmark(measure);
    const auto key = std::pair(file, name);
    try {
      if (is_ijbc(measure)) {
        if (!ijb_.count(key)) {
          const Model m = nn::open_model(file, c_.seed);
          ijb_[key] = evaluate_ijb(&m, open_ijb("ijbc", o_.data, c_.seed), {}, "", c_.seed);
        }
        const size_t target = measure == Measure::kIjbc5 ? 1 : 2;
        const IjbResult& r = ijb_[key];
        return Measured{100 * r.points[target].tpr, eval::Interval{100 * r.intervals[target].low, 100 * r.intervals[target].high}};
      }
      if (!pairs_.count(key))
        pairs_[key] =
            eval::verify(compare_by_model(nn::open_model(file, c_.seed), open_benchmark(name, {.data = o_.data}, c_.seed), o_.data, true));
      const eval::Verification& v = pairs_[key];
      const eval::Interval i = eval::wilson(v.correct, v.pairs);
      return Measured{100 * v.accuracy, eval::Interval{100 * i.low, 100 * i.high}};
    } catch (const Error& e) {
      missing_.insert(e.what());
      return {};
    }
  }

  const Options& o_;
  const Common& c_;
  std::map<std::string, Model> architectures_;
  std::map<std::string, bool> data_;
  std::map<std::pair<std::string, std::string>, eval::Verification> pairs_;
  std::map<std::pair<std::string, std::string>, IjbResult> ijb_;
  std::set<std::string> missing_;
};

const char* name(Measure m) {
  constexpr const char* kNames[] = {"parameters, M", "size, MB", "LFW, %",           "CALFW, %",
                                    "CPLFW, %",      "SLLFW, %", "IJB-C at 1e-5, %", "IJB-C at 1e-4, %"};
  return kNames[static_cast<int>(m)];
}

std::string fixed(double v, const char* pattern = "%.2f") {
  char text[32];
  std::snprintf(text, sizeof text, pattern, v);
  return text;
}

struct Table {
  std::vector<std::vector<std::string>> rows;
  std::set<int> notes;
  Json json = Json::array();
};

Table fill(int table, Laboratory& lab) {
  Table t;
  for (const Claim& claim : claims()) {
    if (claim.table != table) continue;
    const auto ours = lab.measure(claim);
    std::string note = claim.note > 0 ? cat("[", claim.note, "]") : "";
    if (claim.note > 0) t.notes.insert(claim.note);
    Json j{{"network", claim.network}, {"setting", claim.setting}, {"measure", name(claim.measure)}, {"paper", claim.value}};
    std::vector<std::string> row{claim.network, claim.setting, name(claim.measure), cat(fixed(claim.value), " ", note)};
    if (ours) {
      j["ours"] = ours->value, j["difference"] = ours->value - claim.value;
      row.insert(row.end(), {fixed(ours->value), fixed(ours->value - claim.value, "%+.2f")});
      if (ours->interval) {
        const bool inside = ours->interval->low <= claim.value && claim.value <= ours->interval->high;
        j["interval95"] = {ours->interval->low, ours->interval->high}, j["inside"] = inside;
        row.push_back(cat(fixed(ours->interval->low), " - ", fixed(ours->interval->high), inside ? ": inside" : ": outside"));
      } else {
        row.push_back("counted");
      }
    } else {
      row.insert(row.end(), {"-", "-", "not measured"});
    }
    t.rows.push_back(std::move(row));
    t.json.push_back(std::move(j));
  }
  return t;
}

Json reproduce(const Options& o, const Common& c) {
  const int table = o.table.back() - '0';
  if (o.synthetic) return reproduce_synthetic(table, o.out, c);
  Laboratory lab(o, c);
  const Table t = fill(table, lab);
  std::vector<std::string> header{"network", "setting", "measure", "paper", "ours", "difference", "95 % interval"};
  say() << table_title(table) << "\n" << eval::aligned(header, t.rows, 3);
  for (int note : t.notes) say() << "[" << note << "] " << audit_note(note) << "\n";
  if (!lab.missing().empty()) say() << "missing:\n";
  for (auto& line : lab.missing()) say() << "  " << line << "\n";
  RunRecord record(o.out, c);
  HtmlPage page(table_title(table));
  page.table(header, t.rows);
  for (int note : t.notes) page.text(cat("[", note, "] ", audit_note(note)));
  if (!lab.missing().empty()) page.heading("Missing");
  for (auto& line : lab.missing()) page.text(line);
  page.save(record.path("report.html"));
  record.output("report.html");
  Json result{{"table", table}, {"rows", t.json}, {"missing", lab.missing()}};
  record.finish(result);
  return result;
}

Command command("reproduce", "the paper's tables: its values, ours, the difference, the notes of the audit", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  app.add_option("TABLE", o->table, "table1 .. table5")
      ->required()
      ->check(CLI::IsMember({"table1", "table2", "table3", "table4", "table5"}));
  app.add_option("--models", o->models, "folder of iresnet18.safetensors, iresnet18-w6a6.safetensors, ..: see what is listed as missing");
  app.add_option("--data", o->data, "folder with lfw, calfw, cplfw, sllfw and ijbc below it");
  app.add_option("--out", o->out, "run directory")->capture_default_str();
  app.add_flag("--synthetic", o->synthetic, "small networks on rendered faces instead, end to end");
  return [o](const Common& c) { return reproduce(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
