// vitrine embed MODEL IMAGES...: embeddings as .npy.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/codec.h"
#include "engine/core/bytes.h"
#include "engine/graph/fuse.h"
#include "engine/ops.h"
#include "nn/io/npy.h"
#include "nn/network.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/inference.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string model, out, tensor, names;
  std::vector<std::string> images;
  bool flip = false, normalise = false, exact = false;
};

// Files as they are, folders as all the images below them, sorted by path.
std::vector<std::string> expand_paths(const std::vector<std::string>& given) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  for (const std::string& path : given) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    size_t first = files.size();
    for (auto& entry : fs::recursive_directory_iterator(path, fs::directory_options::follow_directory_symlink))
      if (entry.is_regular_file() && data::has_image_extension(entry.path().string())) files.push_back(entry.path().string());
    std::sort(files.begin() + static_cast<int64_t>(first), files.end());
  }
  CHECK(!files.empty(), given.front(), ": no .jpg, .jpeg or .png in it, expected images");
  return files;
}

Tensor embed_tensor(const Model& m, const std::string& file) {
  Tensor x = io::read_npy(file);
  CHECK(x.shape().rank() == 4 && x.dtype() == Dtype::f32, file, ": ", str(x.meta()), ": expected f32 N,C,H,W");
  const data::Preprocess p = preprocess_of(m);
  CHECK(x.shape()[1] == 3 && x.shape()[2] == p.height && x.shape()[3] == p.width, file, ": ", str(x.meta()), ": expected N,3,", p.height,
        ",", p.width);
  NoGrad quiet;
  return run(m.graph, m.tensors, {transpose(x.to(device_of(m)), {0, 2, 3, 1})})[0].to(Device::cpu);
}

Tensor embed_images(const Model& m, const Options& o) {
  FileSet set(expand_paths(o.images));
  Embeddings e = embed(m, set, false, "embed");
  Tensor y = Tensor::from({e.n, e.dim}, e.values);
  if (o.flip) y = add(y, Tensor::from({e.n, e.dim}, embed(m, set, true, "embed mirrored").values));
  if (!o.names.empty())
    save_bytes(o.names, [&](std::ostream& out) {
      for (int64_t i = 0; i < set.size(); ++i) out << set.name(i) << "\n";
    });
  return y;
}

Json embed_command(const Options& o, const Common& c) {
  check_usage(o.tensor.empty() != o.images.empty(), "embed: expected either IMAGES or --tensor FILE.npy");
  CHECK(o.tensor.empty() || (!o.flip && o.names.empty()), "embed: --flip and --names are for IMAGES, not for --tensor");
  Model m = fused(to(nn::open_model(o.model, c.seed), device_of(c)), o.exact ? Fusion::bits : Fusion::free);
  Tensor y = o.tensor.empty() ? embed_images(m, o) : embed_tensor(m, o.tensor);
  for (int64_t i = 0; i < y.numel(); ++i)
    CHECK(std::isfinite(y.data<float>()[i]), o.model, ": the embedding of input ", i / y.shape()[1] + 1, " is not finite");
  if (o.normalise) y = l2_normalize(y);
  io::write_npy(o.out, y);
  say() << o.out << ": " << str(y.meta()) << "\n";
  return {{"out", o.out}, {"n", y.shape()[0]}, {"dim", y.shape()[1]}};
}

Command command("embed", "embeddings of images, or of a raw tensor, as .npy", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("MODEL", o->model, model_help()))->required();
  reads(app.add_option("IMAGES", o->images, "image files and folders of aligned crops"));
  writes(app.add_option("--out", o->out, "file to write, .npy [N,D] f32"))->required();
  reads(app.add_option("--tensor", o->tensor, "a batch N,C,H,W f32 as .npy, pre-processed already"));
  writes(app.add_option("--names", o->names, "write the images' paths, a line per row"));
  app.add_flag("--flip", o->flip, "add the embedding of the mirrored image");
  app.add_flag("--normalise", o->normalise, "rows of length 1");
  app.add_flag("--exact", o->exact, kExactHelp);
  return [o](const Common& c) { return embed_command(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
