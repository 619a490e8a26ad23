// vitrine demo: the whole job on faces it renders itself. Trains a small teacher, prunes it, quantizes it to several widths in several
// ways, verifies every model on four lists and a small IJB-C of people that no training saw, prints the paper's Table 1 for it and writes
// a page to look at.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>

#include "data/codec.h"
#include "eval/report.h"
#include "nn/io/model_file.h"
#include "quant/placement.h"
#include "tools/eval_report.h"
#include "tools/in_small.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/run_record.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string out = "runs/demo";
  bool quick = false;
};

// What differs between the demo of some minutes and the quick one.
struct Scale {
  int64_t identities, images, epochs, pairs;
  int subjects;   // of the small IJB-C
  int64_t adapt;  // identities that students see: little data is the point
  std::vector<std::string> bits;
  std::string pruned_bits;  // of the network that is both pruned and quantized
};
const Scale kFull{600, 10, 6, 800, 60, 160, {"w8a8", "w6a6", "w4a4"}, "w6a6"};
const Scale kQuick{200, 8, 4, 200, 24, 100, {"w4a4"}, "w6a6"};

std::vector<int64_t> first(int64_t n) {
  std::vector<int64_t> indices(static_cast<size_t>(n));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

constexpr int64_t kSide = 56;     // the teacher's input: a quarter of a crop's pixels
constexpr size_t kIjbTarget = 4;  // FPR 1e-2: the small set has some thousand different pairs
constexpr const char* kMethods[] = {"none", "mse", "ekd", "ekd+ce"};

struct Row {
  std::string bits, method;
  Sizes size;
  int64_t params = 0, images = 0;
  std::vector<eval::Verification> results;  // a list each
  IjbResult ijb;
};

struct Demo {
  const Options& o;
  const Common& c;
  Scale scale;
  RunRecord record;
  data::SyntheticSet rendered;
  data::CachedSet train;
  data::SubsetView adapt;
  SmallBenchmarks benchmarks;
  std::vector<Row> rows;
  std::vector<Curve> roc;  // of the first list

  Demo(const Options& options, const Common& common)
      : o(options),
        c(common),
        scale(o.quick ? kQuick : kFull),
        record(o.out, c),
        rendered(c.seed, 0, scale.identities, scale.images),
        train(rendered, int64_t{1} << 30),
        adapt(train, first(scale.adapt * scale.images)),
        benchmarks(c.seed, scale.pairs, scale.subjects) {
    record.begin();
  }
  const std::vector<Benchmark>& lists() const { return benchmarks.lists; }

  Row measure(const std::string& bits, const std::string& method, const Model& m, int64_t images, uint64_t seed) {
    const int64_t weight_bits = bits == "f32" ? 32 : quant::parse_bits(bits).weight_bits;
    SmallResult r = evaluate(m, benchmarks, c.seed);
    auto note = [&](Json line) {
      line["bits"] = bits, line["method"] = method, line["seed"] = seed;
      record.metrics(line);
    };
    for (size_t l = 0; l < r.lists.size(); ++l) note(to_json(lists()[l], r.lists[l]));
    note(to_json(r.ijb));
    if (seed == c.seed) roc.push_back(curve_of(cat(bits, " ", method), eval::decide(r.trials[0], r.lists[0])));
    return {bits, method, sizes(m, weight_bits), count(m.graph).params, images, r.lists, r.ijb};
  }

  Model teacher();
  void keep(const Model&, const std::string& bits, const std::string& method);
  void prune(const Model& teacher);
  Row student(const Model& teacher, const std::string& bits, const std::string& method, uint64_t seed);
  std::string verdict(const Model& teacher);
  void print(std::ostream&) const;
  void page(const std::string& verdict) const;
};

Model Demo::teacher() {
  Model m = small_teacher("iresnet18", {.height = kSide, .width = kSide, .channels = 0.25, .embedding = 128}, train, scale.epochs, 64,
                          c.seed, device_of(c));
  io::save_model(record.path("teacher.safetensors"), m);
  record.output("teacher.safetensors");
  return m;
}

void Demo::keep(const Model& m, const std::string& bits, const std::string& method) {
  const std::string file = cat(bits, "-", method, ".safetensors");
  io::save_model(record.path(file), m);
  record.output(file);
}

// A fifth of the channels of every layer goes, then EKD; then bits, too.
void Demo::prune(const Model& teacher) {
  Model less = without_a_fifth(teacher);
  rows.push_back(measure("f32", "sp20", less, 0, c.seed));
  distil(less, teacher, adapt, "ekd", c.seed);
  keep(less, "f32", "sp20-ekd");
  rows.push_back(measure("f32", "sp20-ekd", less, adapt.size(), c.seed));
  Model fewer_bits = quant::quantface(less, quant::parse_bits(scale.pruned_bits));
  distil(fewer_bits, teacher, adapt, "ekd", c.seed);
  keep(fewer_bits, scale.pruned_bits, "sp20-ekd");
  rows.push_back(measure(scale.pruned_bits, "sp20-ekd", fewer_bits, 2 * adapt.size(), c.seed));
}

Row Demo::student(const Model& teacher, const std::string& bits, const std::string& method, uint64_t seed) {
  Model m = quant::quantface(teacher, quant::parse_bits(bits));
  int64_t images = adapt.size();
  if (method == "none") {
    auto batches = data::shuffled_batches(adapt.size(), 64, seed, 0, false);
    batches.resize(std::min<size_t>(batches.size(), 20));
    images = static_cast<int64_t>(batches.size()) * 64;
    calibrate(m, adapt, batches);
  } else {
    distil(m, teacher, adapt, method, seed);
  }
  if (seed == c.seed) keep(m, bits, method);
  return measure(bits, method, m, images, seed);
}

double mean_accuracy(const Row& row) {
  double sum = 0;
  for (auto& v : row.results) sum += v.accuracy;
  return sum / static_cast<double>(row.results.size());
}

// What EKD gives back of what calibration alone loses at the fewest bits, over seeds (of batches and flips; one teacher).
std::string Demo::verdict(const Model& teacher) {
  constexpr int kSeeds = 3;
  const std::string& bits = scale.bits.back();
  double gain[kSeeds], mean = 0, squares = 0;
  for (int i = 0; i < kSeeds; ++i) {
    const uint64_t seed = c.seed + static_cast<uint64_t>(i);
    auto row = [&](const char* method) {
      for (auto& r : rows)
        if (i == 0 && r.bits == bits && r.method == method) return r;
      return student(teacher, bits, method, seed);
    };
    gain[i] = 100 * (mean_accuracy(row("ekd")) - mean_accuracy(row("none")));
    mean += gain[i] / kSeeds;
  }
  for (double g : gain) squares += (g - mean) * (g - mean);
  const double error = std::sqrt(squares / (kSeeds - 1) / kSeeds),
               lost = 100 * (mean_accuracy(rows[0]) - mean_accuracy(rows[rows.size() - std::size(kMethods)]));
  char text[256];
  std::snprintf(
      text, sizeof text,
      "At %s calibration alone loses %.2f points (mean of the four lists); EKD gives back %.2f +- %.2f (standard error, %d seeds): %s",
      bits.c_str(), lost, mean, error, kSeeds,
      mean > 2 * error ? "more than twice the standard error." : "NOT more than twice the standard error.");
  return text;
}

// The paper's Table 1: what a model is, what it costs, what it still can do.
std::vector<std::vector<std::string>> table(const std::vector<Row>& rows) {
  std::vector<std::vector<std::string>> cells;
  for (auto& r : rows) {
    const int64_t bytes = r.bits == "f32" ? r.size.float_bytes : r.size.packed_bytes;
    char kilobytes[32];
    std::snprintf(kilobytes, sizeof kilobytes, "%.1f", static_cast<double>(bytes) / 1e3);
    cells.push_back({r.bits, r.method, cat(r.params), kilobytes, cat(r.images)});
    for (auto& v : r.results) cells.back().push_back(cat(eval::percent(v.accuracy), " +- ", eval::percent(v.std)));
    const eval::Interval i = r.ijb.intervals[kIjbTarget];
    cells.back().push_back(cat(eval::percent(r.ijb.points[kIjbTarget].tpr), " (", eval::percent(i.low), " - ", eval::percent(i.high), ")"));
  }
  return cells;
}

std::vector<std::string> header(const std::vector<Benchmark>& lists) {
  std::vector<std::string> names{"bits", "fine-tuning", "parameters", "kB", "images"};
  for (auto& list : lists) names.push_back(list.name.substr(list.name.find('-') + 1));
  names.push_back(cat("ijbc, TPR at ", eval::kIjbTargets[kIjbTarget]));
  return names;
}

void Demo::print(std::ostream& out) const { out << eval::aligned(header(lists()), table(rows), 2); }

void Demo::page(const std::string& verdict) const {
  HtmlPage page("Vitrine demo: a face network from scratch, and what is left of it at few bits");
  page.text(cat("All faces are rendered; the ", lists().size(), " lists show people no training saw. ", build_description(), ", seed ",
                c.seed, "."));
  std::vector<std::string> faces;
  for (int64_t i = 0; i < 24; ++i) {
    auto png = data::encode_png(rendered.image(i / 8 * scale.images + i % 8 % scale.images));
    faces.emplace_back(png.begin(), png.end());
  }
  page.images(faces, "Three of the training identities");
  page.heading("Accuracy, % (mean and deviation of ten folds)");
  page.table(header(lists()), table(rows));
  page.text(verdict);
  for (size_t l = 0; l < lists().size(); ++l) {
    Plot p{cat("Accuracy against size: ", lists()[l].name), "kB, packed", "accuracy %", {}};
    std::map<std::string, Series> by_method;
    for (auto& r : rows) {
      Series& s = by_method[r.method];
      s.name = r.method, s.markers = true;
      s.x.push_back(static_cast<double>(r.bits == "f32" ? r.size.float_bytes : r.size.packed_bytes) / 1e3);
      s.y.push_back(100 * r.results[l].accuracy);
    }
    for (auto& [name, s] : by_method) p.series.push_back(std::move(s));
    page.plot(p);
  }
  page.heading("Receiver operating characteristic");
  add_log_roc(page, lists()[0].name, roc);
  std::vector<Curve> curves;
  for (auto& r : rows) curves.push_back({cat(r.bits, " ", r.method), r.ijb.curve, {}});
  curves.resize(std::min<size_t>(curves.size(), 8));
  add_log_roc(page, benchmarks.ijb.name, curves);
  page.save(record.path("report.html"));
}

Json demo(const Options& o, const Common& c) {
  Stopwatch watch;
  Demo d(o, c);
  say() << "demo: an IResNet-18 of a quarter of the width learns " << d.scale.identities << " rendered people from " << d.train.size()
        << " images, then loses channels and bits\n";
  Model teacher = d.teacher();
  d.rows.push_back(d.measure("f32", "teacher", teacher, d.train.size() * d.scale.epochs, c.seed));
  d.prune(teacher);
  for (const std::string& bits : d.scale.bits)
    for (const char* method : kMethods) d.rows.push_back(d.student(teacher, bits, method, c.seed));
  const std::string verdict = d.verdict(teacher);
  say() << "\n";
  d.print(say());
  say() << "\n" << verdict << "\n";
  d.page(verdict);
  d.record.output("report.html");
  say() << "\nLook at " << o.out << "/report.html (" << static_cast<int>(watch.seconds()) << " s)\n";
  Json list = Json::array();
  for (auto& r : d.rows)
    for (size_t l = 0; l < d.lists().size(); ++l) {
      list.push_back(to_json(d.lists()[l], r.results[l]));
      list.back()["bits"] = r.bits, list.back()["method"] = r.method;
    }
  for (auto& r : d.rows) {
    list.push_back(to_json(r.ijb));
    list.back()["bits"] = r.bits, list.back()["method"] = r.method;
  }
  Json result{{"benchmarks", list}, {"out", o.out}, {"verdict", verdict}, {"seconds", watch.seconds()}};
  d.record.finish(result);
  return result;
}

Command command("demo", "the whole pipeline on built-in faces", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  fills(app.add_option("--out", o->out, "run directory"))->capture_default_str();
  app.add_flag("--quick", o->quick, "a smaller set, within a minute");
  return [o](const Common& c) { return demo(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
