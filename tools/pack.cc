// vitrine pack MODEL OUT: the integer model of a quantized one, in one file (quant/lower.h, quant/format.h).
#include <filesystem>

#include "nn/io/model_file.h"
#include "nn/network.h"
#include "quant/lower.h"
#include "tools/command.h"
#include "tools/sha256.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string model, out;
};

Json pack(const Options& o, const Common& c) {
  CHECK(std::filesystem::path(o.out).extension() == ".safetensors", o.out, ": expected a name that ends in .safetensors");
  Model quantized = nn::open_model(o.model, c.seed);
  Model packed;
  try {
    packed = quant::lower(quantized);
  } catch (const Error& e) {
    throw Error(cat(o.model, ": ", e.what()));
  }
  CHECK(quant::is_packed(packed.graph), o.model, ": no layer's weights fit, expected weights of 2 to 8 bits");
  packed.info["packed_from"] = std::filesystem::path(o.model).filename();
  packed.info["packed_from_sha256"] = sha256_file(o.model);
  io::save_model(o.out, packed);
  int64_t integer = 0, layers = 0;
  for (const GraphNode& n : packed.graph.nodes) {
    const std::string op = n.op->name;
    integer += op == "qconv2d", layers += op == "qconv2d" || op == "conv2d" || op == "matmul";
  }
  const int64_t tensors = sizes(packed.graph, 8).packed_bytes, file = static_cast<int64_t>(std::filesystem::file_size(o.out));
  say() << o.out << ": " << integer << " of " << layers << " layers on integers, " << tensors << " bytes of tensors, " << file
        << " bytes of file\n";
  return {{"model", o.out}, {"layers", layers}, {"integer_layers", integer}, {"bytes_packed", tensors}, {"bytes_file", file}};
}

Command command("pack", "the integer model of a quantized one: packed codes, exact integer inference", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("MODEL", o->model, "a model that `vitrine quantize` made, best with --scheme integer"))->required();
  writes(app.add_option("OUT", o->out, "file to write, .safetensors"))->required();
  return [o](const Common& c) { return pack(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
