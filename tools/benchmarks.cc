#include "tools/benchmarks.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "nn/io/npy.h"
#include "tools/files.h"
#include "tools/inference.h"

namespace vitrine::tools {
namespace {

namespace fs = std::filesystem;

struct Known {
  const char *name, *list;
  eval::PairFormat format;
};
constexpr Known kKnown[] = {
    {"lfw", "pairs.txt", eval::PairFormat::kLfw},
    {"sllfw", "pair_SLLFW.txt", eval::PairFormat::kSllfw},
    {"calfw", "pairs_CALFW.txt", eval::PairFormat::kCalfw},
    {"cplfw", "pairs_CPLFW.txt", eval::PairFormat::kCplfw},
};

std::string list_beside(const std::string& data_dir, const std::string& list) {
  for (fs::path dir : {fs::path(data_dir), fs::path(data_dir).parent_path(), fs::path(data_dir) / ".."})
    if (fs::exists(dir / list)) return (dir / list).string();
  throw Error(cat(list, ": found neither in ", data_dir, " nor beside it; name it with --pairs FILE"));
}

// A list names .jpg files; aligned crops may be .png.
std::string find_image(const fs::path& named) {
  if (fs::exists(named)) return named.string();
  for (const char* ending : {".png", ".jpg", ".jpeg"}) {
    fs::path other = named;
    if (fs::exists(other.replace_extension(ending))) return other.string();
  }
  return "";
}

std::vector<std::string> read_lines(const std::string& file) {
  std::ifstream in(file);
  CHECK(in, file, ": cannot be opened");
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string without_extension(const std::string& path) { return fs::path(path).replace_extension("").string(); }

}  // namespace

Benchmark synthetic_benchmark(data::PairKind kind, uint64_t seed, int64_t pairs) {
  data::SyntheticPairs drawn = data::synthetic_pairs(kind, seed, pairs);
  Benchmark b{drawn.name, "built in", {drawn.name, {}, {}, drawn.folds}, std::make_shared<data::SyntheticSet>(drawn.images)};
  for (int64_t i = 0; i < b.images->size(); ++i) b.pairs.images.push_back(b.images->name(i));
  for (auto& p : drawn.pairs) b.pairs.pairs.push_back({static_cast<int>(p.a), static_cast<int>(p.b), p.same, p.fold});
  return b;
}

Benchmark open_benchmark(const std::string& spec, const std::string& data_dir, const std::string& list_file, uint64_t seed) {
  for (data::PairKind kind : data::kPairKinds)
    if (spec == data::pair_list_name(kind)) return synthetic_benchmark(kind, seed);
  size_t equals = spec.find('=');
  std::string name = spec.substr(0, equals), file = equals == std::string::npos ? list_file : spec.substr(equals + 1);
  for (auto& known : kKnown) {
    if (name != known.name) continue;
    bool own_name = file.empty();
    if (own_name) {
      CHECK(!data_dir.empty(), name, ": name its list with --pairs FILE");
      file = list_beside(data_dir, known.list);
    }
    return {name, file, eval::read_pairs(file, own_name ? known.format : eval::PairFormat::kAuto), {}};
  }
  CHECK(!file.empty(), "benchmark '", name, "': expected lfw, sllfw, calfw, cplfw, one of them behind synthetic-, or NAME=LIST_FILE");
  return {name, file, eval::read_pairs(file), {}};
}

namespace {

FileSet files_of(const Benchmark& b, const std::string& data_dir) {
  std::vector<std::string> paths;
  std::string missing;
  int64_t lost = 0;
  for (const std::string& image : b.pairs.images) {
    paths.push_back(find_image(fs::path(data_dir) / image));
    if (paths.back().empty() && lost++ == 0) missing = image;
  }
  CHECK(lost == 0, b.list_file, ": ", lost, " of ", paths.size(), " images are not below ", data_dir, ", the first is ", missing);
  return FileSet(paths);
}

}  // namespace

eval::Trials compare_by_model(const Model& model, const Benchmark& b, const std::string& data_dir, bool flip) {
  std::optional<FileSet> files;
  if (!b.images) files.emplace(files_of(b, data_dir));
  const data::Dataset& set = b.images ? *b.images : static_cast<const data::Dataset&>(*files);
  Embeddings e = embed(model, set, false, cat("embed ", b.pairs.name));
  std::vector<float> mirrored;
  if (flip) mirrored = embed(model, set, true, cat("embed ", b.pairs.name, " mirrored")).values;
  return eval::compare(e.values, e.dim, b.pairs, mirrored);
}

eval::Trials compare_embeddings(const Benchmark& b, const std::string& npy_file, const std::string& names_file,
                                const std::string& data_dir) {
  Tensor e = io::read_npy(npy_file);
  CHECK(e.shape().rank() == 2 && e.dtype() == Dtype::f32, npy_file, ": ", str(e.meta()), ": expected f32 [N,D]");
  int64_t dim = e.shape()[1], n = static_cast<int64_t>(b.pairs.images.size());
  std::vector<float> rows;
  if (names_file.empty()) {
    CHECK(e.shape()[0] == n, npy_file, ": ", e.shape()[0], " rows, ", b.list_file, " has ", n, " images; name the rows with --names FILE");
    rows = e.values<float>();
  } else {
    auto names = read_lines(names_file);
    CHECK(static_cast<int64_t>(names.size()) == e.shape()[0], names_file, ": ", names.size(), " names for ", e.shape()[0], " rows");
    std::map<std::string, int64_t> row_of;
    const std::string below = data_dir.empty() ? "" : (fs::path(data_dir) / "").string();
    for (size_t i = 0; i < names.size(); ++i) {
      const size_t skip = names[i].compare(0, below.size(), below) == 0 ? below.size() : 0;
      row_of[without_extension(names[i].substr(skip))] = static_cast<int64_t>(i);
    }
    for (const std::string& image : b.pairs.images) {
      auto it = row_of.find(without_extension(image));
      CHECK(it != row_of.end(), names_file, ": no row for ", image);
      const float* row = e.data<float>() + it->second * dim;
      rows.insert(rows.end(), row, row + dim);
    }
  }
  return eval::compare(rows, dim, b.pairs);
}

Json to_json(const Benchmark& b, const eval::Verification& v) {
  Json folds = Json::array(), thresholds = Json::array();
  for (auto& f : v.folds) {
    folds.push_back({{"pairs", f.pairs}, {"correct", f.correct}});
    thresholds.push_back(f.threshold);
  }
  auto interval = eval::wilson(v.correct, v.pairs);
  return {{"name", b.name},
          {"list", b.list_file},
          {"pairs", v.pairs},
          {"correct", v.correct},
          {"accuracy", v.accuracy},
          {"std", v.std},
          {"interval95", {interval.low, interval.high}},
          {"folds", folds},
          {"thresholds", thresholds}};
}

}  // namespace vitrine::tools
