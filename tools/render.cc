// vitrine render SET --out DIR: the built-in sets as files that `eval` reads, to look at, or for other programs.
#include <filesystem>

#include "data/synthetic.h"
#include "data/synthetic_ijb.h"
#include "engine/core/error.h"
#include "tools/command.h"

namespace vitrine::tools {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string set, out;
  int64_t pairs = 2000;
  int subjects = 80;
};

Json render(const Options& o, const Common& c) {
  std::error_code error;
  fs::create_directories(o.out, error);
  CHECK(!error, o.out, ": cannot be made: ", error.message());
  const char* list = o.set == "ijbc" ? "meta" : "pairs.txt";
  CHECK(!fs::exists(fs::path(o.out) / list), o.out, ": has ", list, " already, expected a folder without a set");
  if (o.set == "ijbc") data::write_ijb(data::synthetic_ijb(c.seed, o.subjects), o.out);
  for (data::PairKind kind : data::kPairKinds) {
    if (cat("synthetic-", o.set) != data::pair_list_name(kind)) continue;
    const data::SyntheticPairs list = data::synthetic_pairs(kind, c.seed, o.pairs);
    data::write_images(list.images, o.out);
    data::write_pairs(list, (fs::path(o.out) / "pairs.txt").string());
  }
  say() << o.out << ": " << o.set << "; vitrine eval MODEL " << (o.set == "ijbc" ? "ijbc" : cat(o.set, "=", o.out, "/pairs.txt"))
        << " --data " << o.out << "\n";
  return {{"out", o.out}, {"set", o.set}};
}

Command command("render", "built-in sets as files: crops and a pair list, or IJB-C's lists", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  app.add_option("SET", o->set, "lfw, calfw, cplfw, sllfw: crops and pairs.txt; ijbc: loose crops and lists")
      ->required()
      ->check(CLI::IsMember({"lfw", "calfw", "cplfw", "sllfw", "ijbc"}));
  fills(app.add_option("--out", o->out, "folder to write"))->required();
  app.add_option("--pairs", o->pairs, "of a pair list, a multiple of 40")->capture_default_str();
  app.add_option("--subjects", o->subjects, "of ijbc")->capture_default_str();
  return [o](const Common& c) { return render(*o, c); };
});

}  // namespace
}  // namespace vitrine::tools
