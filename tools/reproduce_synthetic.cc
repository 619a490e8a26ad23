#include "tools/reproduce_synthetic.h"

#include <algorithm>
#include <map>

#include "eval/report.h"
#include "quant/placement.h"
#include "tools/claims.h"
#include "tools/eval_report.h"
#include "tools/in_small.h"
#include "tools/run_record.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

using eval::percent;

constexpr int64_t kSide = 28;
// The small IJB-C has about a thousand different pairs: it is read at an FPR a hundred times as large as the paper's 1e-5 and 1e-4.
constexpr size_t kIjbTarget5 = 3, kIjbTarget4 = 4;

struct Scale {
  int64_t identities, images, epochs, pairs, batch;
  int subjects;  // of the small IJB-C
};
constexpr Scale kSmall{200, 8, 16, 200, 64, 24}, kQuick{100, 4, 1, 40, 64, 4};

// The identities that a student sees, in percent of the teacher's; kOthers: as many as the teacher has seen, and none of them.
enum Data { kNone = 0, kQuarter = 8, kHalf = 15, kLittle = 30, kAll = 100, kOthers = -1 };

// What was done to a network for a row.
struct Treatment {
  const char* setting;
  const char* bits = "w6a6";
  const char* method = "ekd";  // none: ranges only
  Data data = kLittle;
  bool pruned = false;
  const char* teacher = "";  // itself
  const char* shown = "";    // where the setting does not say what was done
};
constexpr Treatment kTreatments[] = {
    {"f32", "f32", "none", kNone},
    {"w8a8", "w8a8"},
    {"w6a6"},
    {"pruned", "f32", "ekd", kLittle, true},
    {"w6a6, ranges only", "w6a6", "none"},
    {"w6a6, QuantFace, synthetic data", "w6a6", "mse", kOthers},
    {"w8a8, QuantFace, synthetic data", "w8a8", "mse", kOthers},
    {"w6a6, QuantFace, real data", "w6a6", "mse", kAll},
    {.setting = "w6a6, EKD, one with, one without CE", .shown = "w6a6, EKD"},
    {.setting = "w6a6, EKD, the other", .method = "ekd+ce", .shown = "w6a6, EKD and CE"},
    {"w6a6, a quarter of the data", "w6a6", "ekd", kQuarter},
    {"w6a6, half of the data", "w6a6", "ekd", kHalf},
    {"f32, EKD's teacher", "f32", "none", kNone},
    {"w6a6, EKD from iresnet50", "w6a6", "ekd", kLittle, false, "iresnet50"},
};

// Rows that show what the paper's rows of a table are worth.
const std::vector<PaperRow> kMore = {
    {2, "iresnet18", "w6a6, ranges only", {}},           {4, "iresnet34", "w6a6, ranges only", {}},
    {4, "iresnet34", "w6a6, a quarter of the data", {}}, {5, "iresnet18", "w6a6", {}},
    {5, "iresnet18", "w6a6, EKD from iresnet50", {}},
};

struct Row {
  std::string network, setting, shown;
  int64_t params = 0, bytes = 0, images = 0;
  std::vector<eval::Verification> lists;
  IjbResult ijb;
};

class Bench {
 public:
  Bench(const Scale& scale, const Common& c) : s_(scale), c_(c), benchmarks_(c.seed, s_.pairs, s_.subjects) {
    for (int64_t first : {int64_t{0}, s_.identities})
      people_.push_back(cached(std::make_shared<data::SyntheticSet>(c.seed, first, s_.identities, s_.images), int64_t{1} << 28));
  }

  const std::vector<Benchmark>& lists() const { return benchmarks_.lists; }

  Row row(const std::string& network, const std::string& setting) {
    say() << network << ", " << setting << "\n";
    const auto* t = std::find_if(std::begin(kTreatments), std::end(kTreatments), [&](auto& known) { return setting == known.setting; });
    CHECK(t != std::end(kTreatments), "no treatment in small for '", setting, "'");
    const bool teacher_itself = t->data == kNone;
    const data::SubsetView data = part(t->data);
    const Model m = teacher_itself ? teacher(network) : student(network, *t, data);
    const int64_t bits = t->bits == std::string("f32") ? 32 : quant::parse_bits(t->bits).weight_bits;
    const Sizes size = sizes(m, bits);
    Row row{.network = network, .setting = setting, .shown = *t->shown ? t->shown : setting, .params = count(m.graph).params};
    row.bytes = bits == 32 ? size.float_bytes : size.packed_bytes;
    row.images = teacher_itself ? people_[0]->size() * s_.epochs : data.size();
    SmallResult r = evaluate(m, benchmarks_, c_.seed);
    row.lists = std::move(r.lists), row.ijb = std::move(r.ijb);
    return row;
  }

 private:
  data::SubsetView part(Data data) const {
    std::vector<int64_t> indices;
    const int64_t share = data == kOthers ? 100 : data, people = (s_.identities * share + 99) / 100;
    for (int64_t i = 0; i < people * s_.images; ++i) indices.push_back(i);
    return {*people_[data == kOthers], indices};
  }

  const Model& teacher(const std::string& network) {
    auto found = teachers_.find(network);
    if (found != teachers_.end()) return found->second;
    Model m = small_teacher(network, {.height = kSide, .width = kSide, .channels = 0.125, .embedding = 64}, *people_[0], s_.epochs,
                            s_.batch, c_.seed, Device::cpu);
    return teachers_.emplace(network, std::move(m)).first->second;
  }

  Model student(const std::string& network, const Treatment& t, const data::Dataset& data) {
    const Model& from = teacher(network);
    Model m = t.pruned ? without_a_fifth(from) : quant::quantface(from, quant::parse_bits(t.bits));
    if (t.method == std::string("none")) {
      calibrate(m, data, data::shuffled_batches(data.size(), s_.batch, c_.seed, 0, false));
      return m;
    }
    distil(m, teacher(*t.teacher ? t.teacher : network), data, t.method, c_.seed);
    return m;
  }

  const Scale s_;
  const Common& c_;
  const SmallBenchmarks benchmarks_;
  std::vector<std::shared_ptr<const data::Dataset>> people_;  // the teacher's, and others
  std::map<std::string, Model> teachers_;
};

// Every measurement of every row.
Json add_rows(const std::vector<Row>& rows, const std::vector<Benchmark>& lists, RunRecord& record, HtmlPage& page) {
  std::vector<std::string> header{"network", "setting", "parameters", "kB", "images"};
  for (auto& list : lists) header.push_back(list.name.substr(list.name.find('-') + 1));
  header.push_back("ijbc at 1e-2");
  std::vector<std::vector<std::string>> cells;
  const auto rate = [](double value, const eval::Interval& i) {
    return cat(percent(value), " (", percent(i.low), "-", percent(i.high), ")");
  };
  Json json = Json::array();
  for (const Row& r : rows) {
    cells.push_back({r.network, r.shown, cat(r.params), cat((r.bytes + 500) / 1000), cat(r.images)});
    Json j{{"network", r.network}, {"setting", r.setting}, {"params", r.params}, {"bytes", r.bytes}, {"images", r.images}};
    for (size_t l = 0; l < r.lists.size(); ++l) {
      cells.back().push_back(rate(r.lists[l].accuracy, eval::wilson(r.lists[l].correct, r.lists[l].pairs)));
      j["benchmarks"].push_back(to_json(lists[l], r.lists[l]));
    }
    cells.back().push_back(rate(r.ijb.points[kIjbTarget4].tpr, r.ijb.intervals[kIjbTarget4]));
    j["benchmarks"].push_back(to_json(r.ijb));
    record.metrics(j);
    json.push_back(std::move(j));
  }
  say() << "\n" << eval::aligned(header, cells, 2) << "\n";
  page.table(header, cells);
  return json;
}

std::optional<Measured> measured(const Row& r, Measure m) {
  if (m == Measure::kParameters) return Measured{1e-6 * static_cast<double>(r.params), {}};
  if (m == Measure::kSize) return Measured{1e-6 * static_cast<double>(r.bytes), {}};
  if (m == Measure::kIjbc5 || m == Measure::kIjbc4) {
    const size_t target = m == Measure::kIjbc5 ? kIjbTarget5 : kIjbTarget4;
    return measured_rate(r.ijb.points[target].tpr, r.ijb.intervals[target]);
  }
  const eval::Verification& v = r.lists.at(static_cast<size_t>(m) - static_cast<size_t>(Measure::kLfw));  // in the order of kPairKinds
  return measured_rate(v.accuracy, eval::wilson(v.correct, v.pairs));
}

}  // namespace

Json reproduce_synthetic(int table, bool quick, const std::string& out, const Common& c) {
  Common on_cpu = c;  // where everything here runs, so that the tables are the same everywhere
  on_cpu.device = "cpu";
  RunRecord record(out, on_cpu);
  const Scale scale = quick ? kQuick : kSmall;
  Bench bench(scale, c);
  std::vector<Row> rows;
  for (auto* all : {&paper_rows(), &kMore})
    for (const PaperRow& r : *all)
      if (r.table == table) rows.push_back(bench.row(r.network, r.setting));
  const std::string about =
      cat("In small: networks of an eighth of the width on ", kSide, "x", kSide, " pixels, ", scale.identities,
          " rendered people for the teacher, ", kLittle,
          " % of them for students; accuracies and TPR in % with 95 % intervals; IJB-C at an FPR a hundred times the paper's.");
  HtmlPage page(table_title(table));
  say() << "\n" << table_title(table) << "\n" << about << "\n";
  page.text(about);
  Json models = add_rows(rows, bench.lists(), record, page);
  page.heading("The paper's claims, which are about real faces and full width, beside these");
  const Json claims = compare_with_paper(
      table,
      [&](const PaperRow& row, Measure m) -> std::optional<Measured> {
        for (const Row& r : rows)
          if (r.network == row.network && r.setting == row.setting) return measured(r, m);
        return {};
      },
      page);
  page.save(record.path("report.html"));
  record.output("report.html");
  Json result{{"table", table}, {"synthetic", true}, {"rows", claims}, {"models", models}};
  record.finish(result);
  return result;
}

}  // namespace vitrine::tools
