// vitrine info MODEL: what a model is made of and what it costs.
#include <iomanip>

#include "nn/network.h"
#include "quant/placement.h"
#include "tools/command.h"
#include "tools/inference.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string model, bits;
  bool layers = true;
};

void print_table(std::ostream& out, const Count& c) {
  out << "\n"
      << std::left << std::setw(34) << "layer" << std::setw(20) << "operator" << std::setw(20) << "output" << std::right << std::setw(14)
      << "parameters" << std::setw(16) << "MACs"
      << "\n";
  for (auto& n : c.nodes)
    out << std::left << std::setw(34) << n.name << std::setw(20) << n.op->name << std::setw(20) << n.out.str() << std::right
        << std::setw(14) << n.params << std::setw(16) << n.macs << "\n";
}

Json describe_model(const Model& m, const Options& o) {
  Count c = count(m.graph);
  int64_t frozen = 0, trainable = 0;
  for (const std::string& name : nn::trainable(m)) trainable += m.tensors.at(name).numel();
  frozen = c.params - trainable;
  std::string bits = !o.bits.empty() ? o.bits : m.info.count("bits") ? m.info.at("bits") : "w8a8";
  Sizes s = sizes(m.graph, quant::parse_bits(bits).weight_bits);

  std::ostream& out = say();
  for (auto& [key, value] : m.info)
    if (!value.empty()) out << std::left << std::setw(14) << key << value << "\n";
  const Meta& in = m.graph.values[m.graph.inputs.at(0)].meta;
  out << std::setw(14) << "input" << str(in) << "\n"
      << std::setw(14) << "parameters" << c.params << " (" << trainable << " trainable, " << frozen << " frozen)\n"
      << std::setw(14) << "buffers" << c.buffers << "\n"
      << std::setw(14) << "MACs" << c.macs << " per image\n"
      << std::setw(14) << "bytes, f32" << s.float_bytes << "\n"
      << std::setw(14) << cat("bytes, ", bits) << s.packed_bytes << " packed, with scales and ranges\n";
  if (o.layers) print_table(out, c);

  Json layers = Json::array();
  for (auto& n : c.nodes)
    layers.push_back({{"name", n.name}, {"op", n.op->name}, {"shape", n.out.str()}, {"params", n.params}, {"macs", n.macs}});
  return {{"model", o.model},     {"info", m.info},  {"params", c.params},           {"trainable", trainable},
          {"buffers", c.buffers}, {"macs", c.macs},  {"bytes_float", s.float_bytes}, {"bytes_packed", s.packed_bytes},
          {"bits", bits},         {"layers", layers}};
}

Command command("info", "architecture, parameters, MACs, bytes, a table of the layers", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "a model file or a network's name")->required();
  app.add_option("--bits", o->bits, "packed size at these bits, for example w6a6");
  app.add_flag("--layers,!--no-layers", o->layers, "print the table of the layers");
  return [o](const Common& c) { return describe_model(nn::open_model(o->model, c.seed), *o); };
});

}  // namespace
}  // namespace vitrine::tools
