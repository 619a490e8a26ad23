// vitrine align: faces with five landmarks to crops.
#include <filesystem>
#include <map>
#include <mutex>

#include "data/align.h"
#include "data/codec.h"
#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "tools/command.h"
#include "tools/progress.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string images, landmarks, out, format = "png";
  int size = 112;
};

namespace fs = std::filesystem;

fs::path crop_of(const std::string& name, const Options& o) { return (fs::path(o.out) / name).replace_extension(o.format); }

Json align_all(const Options& o) {
  auto landmarks = data::read_landmarks(o.landmarks);
  std::vector<const data::Landmarks::value_type*> faces;
  std::map<fs::path, std::string> sources;
  for (auto& face : landmarks) {
    const auto [it, is_new] = sources.emplace(crop_of(face.first, o).lexically_normal(), face.first);
    CHECK(is_new, o.landmarks, ": ", it->second, " and ", face.first, " would both become ", it->first.string());
    faces.push_back(&face);
  }
  Progress progress("align", static_cast<int64_t>(faces.size()));
  std::mutex drawing;
  parallel_chunks(static_cast<int64_t>(faces.size()), [&](int64_t i) {
    auto& [name, points] = *faces[i];
    fs::path to = crop_of(name, o);
    try {
      const data::Image crop = data::align(data::read_image((fs::path(o.images) / name).string()), points, o.size);
      fs::create_directories(to.parent_path());
      data::write_image(to, crop);
    } catch (const Error& e) {
      std::string what = e.what();
      throw Error(what.find(name) == std::string::npos ? cat(name, ": ", what) : what);
    }
    std::lock_guard lock(drawing);
    progress.add(1);
  });
  say() << o.out << ": " << faces.size() << " crops of " << o.size << "x" << o.size << "\n";
  return {{"out", o.out}, {"images", faces.size()}, {"size", o.size}};
}

Command command("align", "five landmarks per face to aligned crops", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("--images", o->images, "folder the landmark file's paths are relative to"))
      ->required()
      ->check(CLI::ExistingDirectory);
  reads(app.add_option("--landmarks", o->landmarks, "lines `path x1 y1 ... x5 y5`, pixels of that image"))->required();
  fills(app.add_option("--out", o->out, "folder to write, same layout"))->required();
  app.add_option("--size", o->size, "side of the crop, a multiple of 112 or 128")->capture_default_str();
  app.add_option("--format", o->format, "png (exact) or jpg (quality 95)")->check(CLI::IsMember({"png", "jpg"}))->capture_default_str();
  return [o](const Common&) { return align_all(*o); };
});

}  // namespace
}  // namespace vitrine::tools
