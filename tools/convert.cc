// vitrine convert IN OUT: somebody's checkpoint to a model file, or a model to ONNX.
#include <filesystem>

#include "engine/core/text.h"
#include "nn/io/model_file.h"
#include "nn/io/onnx.h"
#include "nn/network.h"
#include "tools/command.h"
#include "tools/inference.h"
#include "tools/sha256.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string in, out, mean, std, crop;
  bool bgr = false;
};

// The graph decides the size of its input; --crop says what the user believes it to be.
void check_crop(const Model& m, const std::string& crop) {
  const Shape& s = m.graph.values[m.graph.inputs.at(0)].meta.shape;
  CHECK(s.rank() == 4 && cat(s[1], "x", s[2]) == crop, "--crop ", crop, ": the network takes ",
        s.rank() == 4 ? cat(s[1], "x", s[2]) : s.str(), " (height x width)");
}

Json convert(const Options& o, const Common& c) {
  std::string ending = std::filesystem::path(o.out).extension();
  CHECK(ending == ".safetensors" || ending == ".onnx", o.out, ": expected a name that ends in .safetensors or .onnx");
  Model m = nn::open_model(o.in, c.seed);
  if (!o.mean.empty()) m.info["mean"] = o.mean;
  if (!o.std.empty()) m.info["std"] = o.std;
  if (o.bgr) m.info["bgr"] = "1";
  if (!o.crop.empty()) check_crop(m, o.crop);
  const std::string source = m.info.emplace("source", std::filesystem::path(o.in).filename()).first->second;
  // The sum belongs to the source: of a model that was converted before, to the original, which is not here.
  const bool original = std::filesystem::exists(o.in) && source == std::filesystem::path(o.in).filename();
  if (original) m.info.emplace("source_sha256", sha256_file(o.in));
  if (!o.mean.empty() || !o.std.empty()) preprocess_of(m);  // Error, where it could not be used
  if (ending == ".onnx")
    io::export_onnx(o.out, m);
  else
    io::save_model(o.out, m);
  Count n = count(m.graph);
  say() << o.out << ": " << m.tensors.size() << " tensors, " << n.params << " parameters, " << n.macs << " MACs\n";
  return {{"model", o.out}, {"params", n.params}, {"macs", n.macs}, {"sha256", sha256_file(o.out)}};
}

Command command("convert", "a .pth, .onnx or .safetensors file to .safetensors or .onnx", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("IN", o->in, model_help()))->required();
  writes(app.add_option("OUT", o->out, "file to write, .safetensors or .onnx"))->required();
  app.add_option("--mean", o->mean, "subtracted from each 8-bit pixel; if neither the file nor this says it, 127.5")->check(not_negative);
  app.add_option("--std", o->std, "divides what is left; likewise 127.5, of mobilefacenet 128")->check(positive);
  app.add_option("--crop", o->crop, "HEIGHTxWIDTH that the network takes, for example 112x96; checked")
      ->check(parsed_by([](const std::string& text) {
        const size_t x = text.find('x');
        CHECK(x != text.npos && number_from<int>(text.substr(0, x)) && number_from<int>(text.substr(x + 1)), "'", text,
              "', expected HEIGHTxWIDTH");
      }));
  app.add_flag("--bgr", o->bgr, "the network wants blue first");
  return [o](const Common& c) { return convert(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
