// vitrine info MODEL: what a model is made of and what it costs.
#include <iomanip>

#include "nn/network.h"
#include "prune/plan.h"
#include "quant/lower.h"
#include "quant/placement.h"
#include "tools/command.h"
#include "tools/compare.h"
#include "tools/inference.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string model, bits, before;
  bool layers = true;
};

void print_cells(std::ostream& out, const std::vector<std::string>& cells) {
  for (size_t i = 0; i < cells.size(); ++i) out << (i ? std::right : std::left) << std::setw(i < 2 ? 28 : 30) << cells[i];
  out << "\n";
}

// What a pruned model was: layer by layer beside its teacher; without the teacher, the rows of the layers that have lost some.
Json print_before(std::ostream& out, const Model& m, const Options& o, uint64_t seed) {
  Json list = Json::array();
  if (!o.before.empty()) {
    const auto changes = compare_layers(nn::open_model(o.before, seed).graph, m.graph);
    print_cells(out, change_header());
    for (auto& row : change_table(changes)) print_cells(out, row);
    for (auto& l : changes)
      list.push_back({{"name", l.name},
                      {"op", l.op},
                      {"shape_before", l.shape_before.str()},
                      {"shape", l.shape_after.str()},
                      {"params_before", l.params_before},
                      {"params", l.params_after},
                      {"macs_before", l.macs_before},
                      {"macs", l.macs_after}});
  } else if (auto plan = m.info.find("plan"); plan != m.info.end()) {
    out << "\npruned layers, rows before > after\n";
    for (auto& l : prune::parse_plan(plan->second, "plan").layers) {
      out << std::left << std::setw(44) << l.tensor << l.rows << " > " << l.kept.size() << "\n";
      list.push_back({{"name", l.tensor}, {"rows_before", l.rows}, {"rows", l.kept.size()}});
    }
  }
  return list;
}

void print_table(std::ostream& out, const Count& c) {
  out << "\n"
      << std::left << std::setw(34) << "layer" << std::setw(20) << "operator" << std::setw(20) << "output" << std::right << std::setw(14)
      << "parameters" << std::setw(16) << "MACs"
      << "\n";
  for (auto& n : c.nodes)
    out << std::left << std::setw(34) << n.name << std::setw(20) << n.op->name << std::setw(20) << n.out.str() << std::right
        << std::setw(14) << n.params << std::setw(16) << n.macs << "\n";
}

std::string megabytes(double bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << bytes / 1e6 << " MB (" << bytes / (1 << 20) << " MiB)";
  return out.str();
}

Json describe_model(const Model& m, const Options& o, uint64_t seed) {
  Count c = count(m.graph);
  int64_t frozen = 0, trainable = 0;
  for (const std::string& name : nn::trainable(m)) trainable += m.tensors.at(name).numel();
  frozen = c.params - trainable;
  const bool packed = quant::is_packed(m.graph);
  CHECK(!packed || o.bits.empty(), "--bits: not of a packed model, whose codes have their bits");
  std::string bits = !o.bits.empty() ? o.bits : m.info.count("bits") ? m.info.at("bits") : "w8a8";
  const int64_t weight_bits = quant::parse_bits(bits).weight_bits, state = state_dict_bytes(m.graph);
  const double by_bits = size_by_bits(static_cast<double>(state), weight_bits),
               by_quantface = size_by_quantface(static_cast<double>(state), weight_bits);
  Sizes s = sizes(m, weight_bits);

  std::ostream& out = say();
  for (auto& [key, value] : m.info)
    if (!value.empty() && key != "plan") out << std::left << std::setw(13) << key << " " << value << "\n";
  const Meta& in = m.graph.values[m.graph.inputs.at(0)].meta;
  out << std::setw(14) << "input" << str(in) << "\n"
      << std::setw(14) << "parameters" << c.params << " (" << trainable << " trainable, " << frozen << " frozen)\n"
      << std::setw(14) << "buffers" << c.buffers << "\n"
      << std::setw(14) << "MACs" << c.macs << " per image\n"
      << std::setw(14) << "bytes, f32" << s.float_bytes << "\n"
      << std::setw(14) << cat("bytes, ", bits) << s.packed_bytes << " packed, with scales and ranges\n";
  if (!packed)
    out << std::setw(14) << "as papers do" << megabytes(static_cast<double>(state)) << " state_dict; " << bits << ": " << megabytes(by_bits)
        << " by bits / 32, " << megabytes(by_quantface) << " as QuantFace divides\n";
  const Json before = print_before(out, m, o, seed);
  if (o.layers && o.before.empty()) print_table(out, c);

  Json layers = Json::array();
  for (auto& n : c.nodes)
    layers.push_back({{"name", n.name}, {"op", n.op->name}, {"shape", n.out.str()}, {"params", n.params}, {"macs", n.macs}});
  Json result{{"model", o.model},     {"info", m.info},  {"params", c.params},           {"trainable", trainable},
              {"buffers", c.buffers}, {"macs", c.macs},  {"bytes_float", s.float_bytes}, {"bytes_packed", s.packed_bytes},
              {"bits", bits},         {"layers", layers}};
  if (!packed) result["published"] = {{"state_dict", state}, {"by_bits", by_bits}, {"by_quantface", by_quantface}};
  if (!before.empty()) result["pruned"] = before;
  return result;
}

Command command("info", "architecture, parameters, MACs, bytes, a table of the layers", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("MODEL", o->model, model_help()))->required();
  app.add_option("--bits", o->bits, "packed size at these bits, for example w6a6")->check(bit_widths);
  reads(app.add_option("--before", o->before, "of a pruned model: the one it was made from, to be shown beside it"));
  app.add_flag("--layers,!--no-layers", o->layers, "print the table of the layers");
  return [o](const Common& c) { return describe_model(nn::open_model(o->model, c.seed), *o, c.seed); };
});

}  // namespace
}  // namespace vitrine::tools
