// vitrine reproduce table1 .. table5: the paper's claims beside what our files give, or, with --synthetic, the same tables in small.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "engine/graph/fuse.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tools/benchmarks.h"
#include "tools/claims.h"
#include "tools/ijb.h"
#include "tools/reproduce_synthetic.h"
#include "tools/run_record.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string table, data = "data", models = "models", out = "runs/reproduce";
  bool synthetic = false, quick = false;
};

// Computes what claims ask for, each model and benchmark once, and collects what is missing.
class Laboratory {
 public:
  Laboratory(const Options& o, const Common& c) : o_(o), c_(c) {}

  std::optional<Measured> measure(const PaperRow& row, Measure m) {
    const std::string file = model_file(row);
    if (m == Measure::kParameters || m == Measure::kSize) return cost(row, m, file);
    const bool data = has_data(m), model = has_model(row, file);
    return data && model ? rate(file, m) : std::optional<Measured>();
  }

  const std::set<std::string>& missing() const { return missing_; }

 private:
  const Graph& architecture(const std::string& network) {
    auto found = architectures_.find(network);
    if (found == architectures_.end())  // shapes are enough
      found = architectures_.emplace(network, nn::to_model(*nn::make_network(network, {}), network, {}).graph).first;
    return found->second;
  }

  // Parameters and bytes follow from the architecture, but for pruned networks, whose file is needed.
  std::optional<Measured> cost(const PaperRow& row, Measure m, const std::string& file) {
    const bool known = row.setting == "f32" || row.setting == "w8a8" || row.setting == "w6a6";
    if (!known && !has_model(row, file)) return {};
    const Model read = known ? Model() : nn::open_model(file, c_.seed);
    const Graph& g = known ? architecture(row.network) : read.graph;
    if (m == Measure::kParameters) return Measured{1e-6 * static_cast<double>(count(g).params), {}};
    const bool packed = known && row.setting != "f32";
    const int64_t bytes = packed ? sizes(g, quant::parse_bits(row.setting).weight_bits).packed_bytes : sizes(g, 32).float_bytes;
    return Measured{1e-6 * static_cast<double>(bytes), {}};
  }

  // MODELS/iresnet18.safetensors, MODELS/iresnet18-w6a6.safetensors, MODELS/iresnet34-w6a6-half-of-the-data.safetensors
  std::string model_file(const PaperRow& row) const {
    std::string name = row.setting == "f32" ? row.network : cat(row.network, "-", row.setting);
    std::replace(name.begin(), name.end(), ' ', '-');
    std::erase_if(name, [](char c) { return c == ',' || c == '\''; });  // the name goes into a shell's command
    return (fs::path(o_.models) / (name + ".safetensors")).string();
  }

  bool has_model(const PaperRow& row, const std::string& file) {
    if (fs::exists(file)) return true;
    missing_.insert(cat(file, ": ", how_to_make(row, file)));
    return false;
  }

  // The command that makes it, LFW_112 being the aligned images of LFW.
  std::string how_to_make(const PaperRow& row, const std::string& file) const {
    const std::string& setting = row.setting;
    const auto has = [&](const char* part) { return setting.find(part) != setting.npos; };
    if (has("f32")) return cat("vitrine convert glint360k_cosface_r", row.network.substr(7), "_fp16_0.1/backbone.pth ", file);
    const std::string teacher = (fs::path(o_.models) / (row.network + ".safetensors")).string();
    const std::string made = cat("model.safetensors of `vitrine ", setting == "pruned" ? "prune " : "quantize ", teacher);
    if (setting == "pruned") return cat(made, " --ratio 0.2 --finetune ekd --data LFW_112 --out RUN`");
    std::string how = " --finetune ekd --data LFW_112";
    if (has("QuantFace")) how = has("real") ? " --finetune mse --data MS1MV2" : " --finetune mse --data QUANTFACE_SYNTHETIC";
    if (has("the other")) how = " --finetune ekd+ce --data LFW_112";
    if (has("half")) how += " --fraction 0.5";
    return cat(made, " --bits ", setting.substr(0, setting.find(',')), how, " --out RUN`");
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

  // As `vitrine eval` runs it.
  Model open(const std::string& file) const { return fused(to(nn::open_model(file, c_.seed), device_of(c_))); }

  std::optional<Measured> rate(const std::string& file, Measure measure) {
    const std::string name = benchmark(measure);
    const auto key = std::pair(file, name);
    try {
      if (is_ijbc(measure)) {
        if (!ijb_.count(key)) {
          const Model m = open(file);
          ijb_[key] = evaluate_ijb(&m, open_ijb("ijbc", o_.data, c_.seed), {}, "", c_.seed);
        }
        const size_t target = measure == Measure::kIjbc5 ? 1 : 2;
        const IjbResult& r = ijb_[key];
        return measured_rate(r.points[target].tpr, r.intervals[target]);
      }
      if (!pairs_.count(key))
        pairs_[key] = eval::verify(compare_by_model(open(file), open_benchmark(name, {.data = o_.data}, c_.seed), o_.data, true));
      const eval::Verification& v = pairs_[key];
      return measured_rate(v.accuracy, eval::wilson(v.correct, v.pairs));
    } catch (const Error& e) {
      missing_.insert(e.what());
      return {};
    }
  }

  const Options& o_;
  const Common& c_;
  std::map<std::string, Graph> architectures_;
  std::map<std::string, bool> data_;
  std::map<std::pair<std::string, std::string>, eval::Verification> pairs_;
  std::map<std::pair<std::string, std::string>, IjbResult> ijb_;
  std::set<std::string> missing_;
};

Json reproduce(const Options& o, const Common& c) {
  const int table = o.table.back() - '0';
  if (o.synthetic) return reproduce_synthetic(table, o.quick, o.out, c);
  RunRecord record(o.out, c);
  HtmlPage page(table_title(table));
  say() << table_title(table) << "\n";
  Laboratory lab(o, c);
  const Json rows = compare_with_paper(
      table, [&](const PaperRow& row, Measure m) { return lab.measure(row, m); }, page);
  if (!lab.missing().empty()) say() << "missing:\n", page.heading("Missing");
  for (auto& line : lab.missing()) {
    say() << "  " << line << "\n";
    page.text(line);
  }
  page.save(record.path("report.html"));
  record.output("report.html");
  Json result{{"table", table}, {"rows", rows}, {"missing", lab.missing()}};
  record.finish(result);
  return result;
}

Command command("reproduce", "the paper's tables: its values, ours, the difference, the notes of the audit", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  app.add_option("TABLE", o->table, "table1 .. table5")
      ->required()
      ->check(CLI::IsMember({"table1", "table2", "table3", "table4", "table5"}));
  reads(app.add_option("--models", o->models,
                       "folder of iresnet18.safetensors, iresnet18-w6a6.safetensors, ..: see what is listed as missing"))
      ->capture_default_str();
  reads(app.add_option("--data", o->data, "folder with lfw, calfw, cplfw, sllfw and ijbc below it"))->capture_default_str();
  fills(app.add_option("--out", o->out, "run directory"))->capture_default_str();
  auto* small = app.add_flag("--synthetic", o->synthetic, "small networks on rendered faces instead, end to end");
  app.add_flag("--quick", o->quick, "the synthetic table at a size that only shows that everything runs")->needs(small);
  return [o](const Common& c) { return reproduce(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
