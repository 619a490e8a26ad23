#include "tools/reproduce_synthetic.h"

#include <algorithm>
#include <map>

#include "eval/report.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tools/benchmarks.h"
#include "tools/eval_report.h"
#include "tools/ijb.h"
#include "tools/paper.h"
#include "tools/run_record.h"
#include "tools/sizes.h"
#include "tools/training.h"

namespace vitrine::tools {
namespace {

using eval::percent;

constexpr int64_t kIdentities = 200, kImages = 8, kEpochs = 16, kSide = 28, kPairs = 200;
constexpr int64_t kLittle = 60;  // identities of the little data
constexpr int kSubjects = 24;
constexpr size_t kIjbTarget = 4;  // FPR 1e-2

struct Row {
  std::string network, setting;
  int64_t params = 0, bytes = 0, images = 0;
  std::vector<eval::Verification> lists;
  IjbResult ijb;
};

struct Student {
  std::string bits = "w6a6", method = "ekd";  // none: calibration only
  double fraction = 1;                        // of the little data; above 1: all data
};

class Bench {
 public:
  explicit Bench(const Common& c) : c_(c), rendered_(c.seed, 0, kIdentities, kImages), all_(rendered_, int64_t{1} << 30) {
    for (data::PairKind kind : data::kPairKinds) {
      lists_.push_back(synthetic_benchmark(kind, c.seed, kPairs));
      cache(lists_.back().images);
    }
    ijb_ = synthetic_ijb_benchmark(c.seed, kSubjects);
    cache(ijb_.images);
  }

  const std::vector<Benchmark>& lists() const { return lists_; }

  const Model& teacher(const std::string& network) {
    auto found = teachers_.find(network);
    if (found != teachers_.end()) return found->second;
    say() << "training " << network << "\n";
    Model m = nn::make_model(network, c_.seed, {.height = kSide, .width = kSide, .channels = 0.125, .embedding = 64});
    m.info["shrink"] = std::to_string(112 / kSide);
    Recipe r = recipe("ce");
    r.schedule = {.kind = nn::Schedule::Kind::cosine, .base = 0.1};
    r.epochs = kEpochs;
    fit(m, nullptr, all_, [&](int64_t e) { return data::shuffled_batches(all_.size(), 64, c_.seed, static_cast<uint64_t>(e)); }, r, {});
    return teachers_.emplace(network, std::move(m)).first->second;
  }

  Row measure(const std::string& network, const std::string& setting, const Model& m, int64_t bits, int64_t images) {
    const Sizes s = sizes(m.graph, bits);
    Row row{network, setting, count(m.graph).params, bits == 32 ? s.float_bytes : s.packed_bytes, images, {}, {}};
    for (auto& list : lists_) row.lists.push_back(eval::verify(compare_by_model(m, list, "", false)));
    IjbOptions options;
    options.pooling.flip = false;
    row.ijb = evaluate_ijb(&m, ijb_, options, "", c_.seed);
    return row;
  }

  Row teacher_row(const std::string& network) { return measure(network, "f32", teacher(network), 32, all_.size() * kEpochs); }

  // A quantized `network` that learns from `from`, by default from itself.
  Row student_row(const std::string& network, const Student& s, const std::string& setting, const std::string& from = "") {
    say() << network << " " << setting << "\n";
    Model m = quant::quantface(teacher(network), quant::parse_bits(s.bits));
    const double share = std::min(1.0, s.fraction);
    const int64_t people = s.fraction > 1 ? kIdentities : static_cast<int64_t>(share * static_cast<double>(kLittle));
    std::vector<int64_t> indices;
    for (int64_t i = 0; i < people * kImages; ++i) indices.push_back(i);
    const data::SubsetView part(all_, indices);
    if (s.method == "none") {
      calibrate(m, part, data::shuffled_batches(part.size(), 64, c_.seed, 0, false));
    } else {
      Recipe r = recipe(s.method);
      r.schedule.base = 0.01;
      fit(m, &teacher(from.empty() ? network : from), part,
          [&](int64_t e) { return data::balanced_batches(data::labels(part), c_.seed, static_cast<uint64_t>(e)); }, r, {});
    }
    return measure(network, setting, m, quant::parse_bits(s.bits).weight_bits, part.size());
  }

 private:
  void cache(std::shared_ptr<const data::Dataset>& images) {
    pool_.push_back(images);
    images = std::make_shared<data::CachedSet>(*pool_.back(), int64_t{1} << 28);
  }
  Recipe recipe(const std::string& terms) const {
    Recipe r;
    r.objective.terms = terms;
    r.objective.head = {.margin = {.m2 = 0, .m3 = 0.3, .scale = 32}, .seed = c_.seed};
    return r;
  }

  const Common& c_;
  data::SyntheticSet rendered_;
  data::CachedSet all_;
  std::vector<std::shared_ptr<const data::Dataset>> pool_;
  std::vector<Benchmark> lists_;
  IjbBenchmark ijb_;
  std::map<std::string, Model> teachers_;
};

constexpr const char* kNetworks[] = {"iresnet18", "iresnet34", "iresnet50"};

std::vector<Row> rows_of(int table, Bench& b) {
  std::vector<Row> rows;
  for (const std::string network : kNetworks) {
    if (table == 1) {
      rows.push_back(b.teacher_row(network));
      for (const char* bits : {"w8a8", "w6a6"}) rows.push_back(b.student_row(network, {.bits = bits}, cat(bits, ", EKD")));
    }
    if (table == 3)
      for (const char* method : {"ekd", "ekd+ce"}) rows.push_back(b.student_row(network, {.method = method}, cat("w6a6, ", method)));
  }
  if (table == 2) {
    rows.push_back(b.teacher_row("iresnet18"));
    rows.push_back(b.student_row("iresnet18", {.method = "none"}, "w6a6, ranges only"));
    rows.push_back(b.student_row("iresnet18", {.method = "mse", .fraction = 2}, "w6a6, MSE, all data"));
    rows.push_back(b.student_row("iresnet18", {.method = "ekd"}, "w6a6, EKD, little data"));
  }
  if (table == 4)
    for (int percent : {25, 50, 75, 100})
      rows.push_back(b.student_row("iresnet18", {.fraction = percent / 100.0}, cat("w6a6, EKD, ", percent, " % of the little data")));
  if (table == 5) {
    for (const char* network : {"iresnet18", "iresnet50"}) rows.push_back(b.teacher_row(network));
    rows.push_back(b.student_row("iresnet18", {}, "w6a6, EKD from itself"));
    rows.push_back(b.student_row("iresnet18", {}, "w6a6, EKD from iresnet50", "iresnet50"));
  }
  return rows;
}

}  // namespace

Json reproduce_synthetic(int table, const std::string& out, const Common& c) {
  RunRecord record(out, c);
  Bench bench(c);
  const std::vector<Row> rows = rows_of(table, bench);
  std::vector<std::string> header{"network, 1/8 of the width", "setting", "parameters", "kB", "images"};
  for (auto& list : bench.lists()) header.push_back(list.name.substr(list.name.find('-') + 1));
  header.push_back("ijbc at 1e-2");
  std::vector<std::vector<std::string>> cells;
  Json json = Json::array();
  for (const Row& r : rows) {
    cells.push_back({r.network, r.setting, cat(r.params), cat((r.bytes + 500) / 1000), cat(r.images)});
    Json j{{"network", r.network}, {"setting", r.setting}, {"params", r.params}, {"bytes", r.bytes}, {"images", r.images}};
    for (size_t l = 0; l < r.lists.size(); ++l) {
      const auto interval = eval::wilson(r.lists[l].correct, r.lists[l].pairs);
      cells.back().push_back(cat(percent(r.lists[l].accuracy), " (", percent(interval.low), "-", percent(interval.high), ")"));
      j["benchmarks"].push_back(to_json(bench.lists()[l], r.lists[l]));
    }
    const auto& interval = r.ijb.intervals[kIjbTarget];
    cells.back().push_back(cat(percent(r.ijb.points[kIjbTarget].tpr), " (", percent(interval.low), "-", percent(interval.high), ")"));
    j["benchmarks"].push_back(to_json(r.ijb));
    record.metrics(j);
    json.push_back(std::move(j));
  }
  const std::string about = cat(table_title(table), ", in small: rendered faces, ", kIdentities, " identities, little data: ", kLittle,
                                " of them; accuracies and TPR in % with 95 % intervals");
  say() << "\n" << about << "\n" << eval::aligned(header, cells, 2);
  HtmlPage page(table_title(table));
  page.text(about);
  page.table(header, cells);
  page.save(record.path("report.html"));
  record.output("report.html");
  Json result{{"table", table}, {"synthetic", true}, {"rows", json}};
  record.finish(result);
  return result;
}

}  // namespace vitrine::tools
