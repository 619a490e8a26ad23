// vitrine bench MODEL: the layers of a network, each distinct shape with its multiplicity, and the network as a whole, timed where they
// run: in the network, one after the other.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>

#include "bench/peak.h"
#include "engine/core/bytes.h"
#include "engine/core/parallel.h"
#include "engine/core/rng.h"
#include "engine/cpu/isa.h"
#include "engine/graph/fuse.h"
#include "engine/graph/session.h"
#include "engine/ops/conv2d_chain.h"
#include "nn/network.h"
#include "quant/lower.h"
#include "quant/placement.h"
#include "tools/command.h"
#include "tools/run_record.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string model, csv;
  std::vector<std::string> bits{"w8a8", "w6a6", "w4a4", "f32"};
  std::vector<int64_t> batches{1, 32};
  int64_t repetitions = 9;
};

using Clock = std::chrono::steady_clock;
double since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

struct Peaks {
  double fma, codes, read;  // operations and bytes per second; 0: unknown
};

// Nodes that cost the same: one operator on equal shapes.
struct Class {
  std::string name;
  int64_t count = 0;
  double ops = 0, bytes = 0;  // of one node; ops: two per multiply-add
  bool integers = false;
  std::vector<double> seconds;  // of one node, per repetition: the mean over the class
};

struct Row {
  std::string name;
  int64_t count;
  double median, spread, ops, bytes, share;  // seconds; (max - min) / median; of one call; of the nearer peak
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

Row row(const Class& c, const std::string& prefix, const Peaks& p) {
  const double m = median(c.seconds), compute = c.integers ? p.codes : p.fma;
  const auto [low, high] = std::minmax_element(c.seconds.begin(), c.seconds.end());
  const double limit = std::max(compute > 0 ? c.ops / compute : 0, p.read > 0 ? c.bytes / p.read : 0);  // seconds at the nearer peak
  return {prefix + c.name, c.count, m, (*high - *low) / m, c.ops, c.bytes, limit / m};
}

std::string describe(const Graph& g, const GraphNode& n) {
  const Shape &x = g.values[n.in[0]].meta.shape, &y = g.values[n.out[0]].meta.shape;
  const auto* conv = dynamic_cast<const Conv2dAttrs*>(n.attrs.get());
  auto sides = [](const Shape& s) { return s.rank() == 4 ? cat(s[1], "x", s[2], "x", s[3]) : cat(s.back()); };
  auto kernel = [&](int64_t kh, int64_t kw) {
    return cat(" ", kh, "x", kw, " s", conv->stride_h, conv->groups > 1 ? cat(" g", conv->groups) : "");
  };
  const std::string name = cat(n.op->name, " ", sides(x), " > ", sides(y));
  if (const auto* chain = dynamic_cast<const ConvChainAttrs*>(n.attrs.get())) {
    int64_t wide = 0;  // its depthwise links are the widest
    for (const FusedConvAttrs& f : chain->links) wide = std::max(wide, f.groups);
    return cat(name, ", ", chain->links.size(), " links, ", wide, " wide");
  }
  if (!conv) return name;
  if (const auto* f = dynamic_cast<const FusedConvAttrs*>(conv)) return cat(name, kernel(f->kh, f->kw), f->winograd ? " winograd" : "");
  const Shape& w = g.values[n.in[n.op->name == std::string("qconv2d") ? 2 : 1]].meta.shape;
  return w.rank() == 4 ? name + kernel(w[1], w[2]) : name;
}

std::vector<size_t> classify(const Graph& g, int64_t batch, std::vector<Class>& classes) {
  std::vector<size_t> of;
  for (const GraphNode& n : g.nodes) {
    const std::string name = describe(g, n);
    size_t k = 0;
    while (k < classes.size() && classes[k].name != name) ++k;
    of.push_back(k);
    if (k == classes.size()) classes.push_back({name});
    Class& c = classes[k];
    if (c.count++) continue;
    Metas in, out;
    for (Id id : n.in) in.push_back(g.values[id].meta);
    for (Id id : n.out) out.push_back(g.values[id].meta);
    c.integers = n.op->name == std::string("qconv2d");
    if (n.op->macs) c.ops = 2.0 * static_cast<double>(n.op->macs(in, out, n.attrs.get()) * batch);
    auto add = [&](Id id) {
      const bool per_image = g.values[id].kind == Value::Kind::computed || g.values[id].kind == Value::Kind::input;
      c.bytes += static_cast<double>(g.values[id].meta.nbytes() * (per_image ? batch : 1));
    };
    if (!n.op->view) std::for_each(n.in.begin(), n.in.end(), add), std::for_each(n.out.begin(), n.out.end(), add);
  }
  return of;
}

Tensor noise(const Model& m, int64_t batch) {
  Shape s = m.graph.values[m.graph.inputs.at(0)].meta.shape;
  s[0] = batch;
  Philox rng(1);
  std::vector<float> v(s.numel());
  for (float& x : v) x = (static_cast<float>(rng.below(256)) - 127.5f) / 127.5f;
  return Tensor::from(s, v);
}

std::vector<Row> measure(const Model& m, int64_t batch, const std::string& prefix, const Options& o, const Peaks& peaks) {
  Session session(m.graph, m.tensors, batch);
  const Tensor x = noise(m, batch);
  std::vector<Class> classes;
  const std::vector<size_t> of = classify(m.graph, batch, classes);
  Class whole{"network", 1};
  for (size_t k : of) whole.ops += classes[k].ops, whole.integers |= classes[k].integers;
  session.run({x});
  for (int64_t r = 0; r < o.repetitions; ++r) {
    auto start = Clock::now();
    session.run({x});
    whole.seconds.push_back(since(start));
    std::vector<double> sum(classes.size());
    size_t node = 0;
    auto last = Clock::now();
    session.run({x}, [&](const GraphNode&, const Tensors&) {
      auto now = Clock::now();
      sum[of[node++]] += std::chrono::duration<double>(now - last).count();
      last = now;
    });
    for (size_t k = 0; k < classes.size(); ++k) classes[k].seconds.push_back(sum[k] / static_cast<double>(classes[k].count));
  }
  std::vector<Row> rows{row(whole, prefix, peaks)};
  for (const Class& c : classes)
    if (c.ops > 0 || median(c.seconds) > 0.002 * rows[0].median) rows.push_back(row(c, prefix, peaks));
  return rows;
}

// The network at these bits. Ranges come from one batch of noise, which a hundred random layers carry out of every range; they have no
// influence on time.
Model at_bits(const Model& m, const std::string& bits) {
  if (quant::is_packed(m.graph)) return m;
  if (bits == "f32") return fused(m);
  const quant::Census c = quant::census(m.graph);
  if (c.activations + c.convolutions) return quant::lower(m);
  Model student = quant::integer(m, quant::parse_bits(bits));
  run(quant::with_running_ranges(student.graph), student.tensors, {noise(m, 1)});
  for (auto& [name, t] : student.tensors)
    if (name.ends_with(".range"))
      for (const float v : t.values<float>())
        if (!(std::abs(v) < 1e6f)) t = Tensor::from({2}, std::vector<float>{-3, 3});
  return quant::lower(student);
}

std::string csv(const std::vector<Row>& rows) {
  std::ostringstream out;
  out << "name,count,median_ns,spread,gops,gbs,share_of_peak\n";
  for (const Row& r : rows)
    out << '"' << r.name << "\"," << r.count << "," << r.median * 1e9 << "," << r.spread << "," << r.ops / r.median / 1e9 << ","
        << r.bytes / r.median / 1e9 << "," << r.share << "\n";
  return out.str();
}

void print(const std::vector<Row>& rows, int64_t batch) {
  std::ostream& out = say();
  for (const Row& r : rows) {
    out << std::left << std::setw(64) << r.name << std::right << std::setw(4) << r.count << std::fixed << std::setprecision(1)
        << std::setw(11) << r.median * 1e6 << " us" << std::setw(6) << r.spread * 100 << "%" << std::setw(9) << r.ops / r.median / 1e9
        << std::setw(8) << r.bytes / r.median / 1e9 << std::setw(6) << r.share * 100 << "%";
    if (&r == rows.data()) out << "  " << static_cast<double>(batch) / r.median << " img/s";
    out << "\n";
  }
}

Json bench_command(const Options& o, const Common& c) {
  NoGrad quiet;
  const Model model = nn::open_model(o.model, c.seed);
  const bool fixed = quant::is_packed(model.graph) || quant::census(model.graph).convolutions > 0;
  const Peaks peaks{bench::fma_peak(), bench::code_peak(), bench::read_bandwidth()};
  say() << cpu::name(cpu::isa()) << ", " << threads() << " threads; peaks: " << peaks.fma / 1e9 << " GFLOP/s f32, " << peaks.codes / 1e9
        << " GOP/s u8 x s8, " << peaks.read / 1e9 << " GB/s read\n"
        << std::left << std::setw(64) << ""
        << " x       median  spread    GOP/s    GB/s  share of the nearer peak\n";
  std::vector<Row> all;
  for (const std::string& bits : fixed ? std::vector<std::string>{"packed"} : o.bits) {
    const Model m = at_bits(model, bits);
    for (int64_t batch : o.batches) {
      auto rows = measure(m, batch, cat(bits, " b", batch, " "), o, peaks);
      print(rows, batch);
      all.insert(all.end(), rows.begin(), rows.end());
    }
  }
  if (!o.csv.empty()) save_bytes(o.csv, [&](std::ostream& out) { out << csv(all); });
  Json rows = Json::array();
  for (const Row& r : all)
    rows.push_back({{"name", r.name},
                    {"count", r.count},
                    {"median_ns", r.median * 1e9},
                    {"spread", r.spread},
                    {"gops", r.ops / r.median / 1e9},
                    {"gbs", r.bytes / r.median / 1e9},
                    {"share_of_peak", r.share}});
  return {{"model", o.model},
          {"build", build_description()},
          {"machine",
           {{"isa", cpu::name(cpu::isa())},
            {"threads", threads()},
            {"fma_flops", peaks.fma},
            {"code_ops", peaks.codes},
            {"read_bytes", peaks.read}}},
          {"rows", rows}};
}

Command command(
    "bench", "time the layers of a network, in float and on integers, as shares of the machine's peaks", [](CLI::App& app) -> Action {
      auto o = std::make_shared<Options>();
      reads(app.add_option("MODEL", o->model, model_help() + "; float, quantized or packed"))->required();
      app.add_option("--bits", o->bits, "of a float model: f32 and w<2-8>a<2-8>, comma-separated")->delimiter(',')->capture_default_str();
      app.add_option("--batch", o->batches, "batch sizes, comma-separated")->delimiter(',')->check(positive)->capture_default_str();
      app.add_option("--repetitions", o->repetitions, "median of so many")->check(positive)->capture_default_str();
      writes(app.add_option("--csv", o->csv, "write the rows as CSV"));
      return [o](const Common& c) { return bench_command(*o, c); };
    });

}  // namespace
}  // namespace vitrine::tools
