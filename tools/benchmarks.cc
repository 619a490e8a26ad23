#include "tools/benchmarks.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>

#include "data/bin_set.h"
#include "nn/io/npy.h"
#include "tools/files.h"
#include "tools/inference.h"

namespace vitrine::tools {
namespace {

namespace fs = std::filesystem;

struct Known {
  const char *name, *list, *bin;
  eval::PairFormat format;
};
constexpr Known kKnown[] = {
    {"lfw", "pairs.txt", "lfw.bin", eval::PairFormat::kLfw},
    {"sllfw", "pair_SLLFW.txt", "sllfw.bin", eval::PairFormat::kSllfw},
    {"calfw", "pairs_CALFW.txt", "calfw.bin", eval::PairFormat::kCalfw},
    {"cplfw", "pairs_CPLFW.txt", "cplfw.bin", eval::PairFormat::kCplfw},
    {"cfp-ff", "Protocol", "cfp_ff.bin", eval::PairFormat::kAuto},
    {"cfp-fp", "Protocol", "cfp_fp.bin", eval::PairFormat::kAuto},
    {"agedb", "", "agedb_30.bin", eval::PairFormat::kAuto},  // its own list is a MATLAB file
};

// Where the files of a benchmark may lie: in the folder named, or in one of the benchmark's name there.
std::vector<fs::path> folders(const std::string& data_dir, const std::string& name) {
  std::string upper = name;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return {data_dir, fs::path(data_dir) / name, fs::path(data_dir) / upper};
}

std::string find_file(const Known& known, const std::string& data_dir) {
  auto dirs = folders(data_dir, known.name);
  dirs.push_back(fs::path(data_dir) / "..");
  for (const char* file : {known.list, known.bin})
    for (const fs::path& dir : dirs)
      if (*file && fs::exists(dir / file)) return (dir / file).lexically_normal().string();
  throw Error(cat(*known.list ? cat(known.list, " or ") : "", known.bin, ": not in ", data_dir, ", ",
                  (fs::path(data_dir) / known.name).string(), " or beside it"));
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

namespace {

// A list without folds gets ten: contiguous, as published code does, or of both classes alike. Error if one has a single class.
eval::PairList in_folds(eval::PairList pairs, const std::string& file, bool by_class) {
  if (by_class && pairs.folds == 0) eval::deal_out_by_class(pairs, eval::kFolds);
  eval::check_classes(pairs, file);
  return pairs;
}

}  // namespace

Benchmark open_bin(const std::string& name, const std::string& file, bool folds_by_class) {
  auto set = std::make_shared<data::BinSet>(file);
  return {name, file, in_folds(eval::consecutive_pairs(name, set->same), file, folds_by_class), std::move(set)};
}

Benchmark open_benchmark(const std::string& spec, const Where& where, uint64_t seed) {
  for (data::PairKind kind : data::kPairKinds)
    if (spec == data::pair_list_name(kind)) return synthetic_benchmark(kind, seed);
  const size_t equals = spec.find('=');
  const std::string name = spec.substr(0, equals);
  std::string file = equals == std::string::npos ? where.list : spec.substr(equals + 1);
  auto format = eval::PairFormat::kAuto;
  if (file.empty()) {
    const auto* known = std::find_if(std::begin(kKnown), std::end(kKnown), [&](auto& k) { return name == k.name; });
    check_usage(known != std::end(kKnown), "benchmark '", name, "': expected ", kBenchmarkHelp);
    check_usage(!where.data.empty(), name, ": name its list with --pairs FILE, or its folder with --data DIR");
    file = find_file(*known, where.data), format = known->format;
  }
  if (file.ends_with(".bin")) return open_bin(name, file, where.folds_by_class);
  if (name == "cfp-ff" || name == "cfp-fp") {
    const std::string root = fs::is_directory(file) ? (fs::path(file) / "..").lexically_normal().string() : file;
    return {name, file, eval::read_cfp(root, name == "cfp-ff" ? eval::CfpKind::kFrontalFrontal : eval::CfpKind::kFrontalProfile), {}};
  }
  return {name, file, in_folds(eval::read_pairs(file, format), file, where.folds_by_class), {}};
}

namespace {

// The folder that the list's paths start from: the first, in the layouts of the distributed sets, that has the list's first image.
fs::path image_root(const Benchmark& b, const std::string& data_dir) {
  for (const fs::path& dir : folders(data_dir, b.name))
    for (const char* inside : {"", "images", "aligned images", "cfp-dataset"})
      if (!find_image(dir / inside / b.pairs.images.at(0)).empty()) return dir / inside;
  return data_dir;
}

}  // namespace

std::shared_ptr<const data::Dataset> images_of(const Benchmark& b, const std::string& data_dir) {
  if (b.images) return b.images;
  const fs::path root = image_root(b, data_dir);
  std::vector<std::string> paths;
  std::string missing;
  int64_t lost = 0;
  for (const std::string& image : b.pairs.images) {
    paths.push_back(find_image(root / image));
    if (paths.back().empty() && lost++ == 0) missing = image;
  }
  CHECK(lost == 0, b.list_file, ": ", lost, " of ", paths.size(), " images are not below ", root.string(), ", the first is ", missing);
  return std::make_shared<FileSet>(paths);
}

eval::Trials compare_by_model(const Model& model, const Benchmark& b, const std::string& data_dir, bool flip) {
  const auto images = images_of(b, data_dir);
  const data::Dataset& set = *images;
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
      const bool first = row_of.emplace(without_extension(names[i].substr(skip)), static_cast<int64_t>(i)).second;
      CHECK(first, names_file, ":", i + 1, ": ", names[i], " has a row already, expected one for each image");
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
