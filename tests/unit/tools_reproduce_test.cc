// `vitrine reproduce`: every table from files, with what is missing named, and in small from end to end.
#include "nn/io/model_file.h"
#include "nn/network.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/tools_testing.h"
#include "tools/paper.h"

namespace vitrine::tools {
namespace {

using data::Scratch;

size_t claims_of(int table) {
  size_t n = 0;
  for (const PaperRow& row : paper_rows())
    if (row.table == table) n += row.claims.size();
  return n;
}

class ToolsReproduce : public testing::TestWithParam<int> {
 protected:
  const int table = GetParam();
  const Scratch s;
  Json reproduce(std::vector<std::string> more) const {
    more.insert(more.begin(), {"reproduce", cat("table", table)}), more.insert(more.end(), {"--out", s / "run", "--json", "-"});
    const Outcome o = vitrine(more);
    EXPECT_EQ(o.code, 0) << o.err;
    return o.code == 0 ? o.json() : Json();
  }
};

// Every claim of the table is measured, against people and networks that the command makes itself.
TEST_P(ToolsReproduce, InSmallEveryClaimIsMeasured) {
  const Json r = reproduce({"--synthetic", "--quick"});
  ASSERT_EQ(r["rows"].size(), claims_of(table));
  for (const Json& claim : r["rows"]) {
    ASSERT_TRUE(claim.contains("ours")) << claim;
    const double ours = claim["ours"], paper = claim["paper"];
    EXPECT_EQ(claim["difference"].get<double>(), ours - paper);
    if (!claim.contains("interval95")) continue;
    const double low = claim["interval95"][0], high = claim["interval95"][1];
    EXPECT_TRUE(0 <= low && low <= high && high <= 100) << claim;
    EXPECT_EQ(claim["inside"].get<bool>(), low <= paper && paper <= high);
  }
  for (const Json& model : r["models"]) EXPECT_EQ(model["benchmarks"].size(), 5) << model["setting"];
  const std::string page = read_file(s / "run/report.html");
  EXPECT_NE(page.find(cat("Table ", table, ":")), page.npos);
}

// Without any file, each model and each benchmark is named with its place, once.
TEST_P(ToolsReproduce, MissingFilesAreNamedWithTheirPlaces) {
  const Json r = reproduce({"--models", s / "models", "--data", s / "data"});
  ASSERT_EQ(r["rows"].size(), claims_of(table));
  std::set<std::string> files, expected;
  for (const Json& line : r["missing"]) {
    const auto text = line.get<std::string>();
    EXPECT_TRUE(files.insert(text.substr(0, text.find(": "))).second) << text;
    EXPECT_EQ(text.find('\n'), text.npos);
  }
  for (const PaperRow& row : paper_rows()) {
    if (row.table != table) continue;
    std::string file = row.setting == "f32" ? row.network : row.network + "-" + row.setting;
    std::replace(file.begin(), file.end(), ' ', '-');
    std::erase_if(file, [](char c) { return c == ',' || c == '\''; });
    const bool counted = row.setting == "f32" || row.setting == "w8a8" || row.setting == "w6a6";
    for (const Claim& claim : row.claims) {
      if (claim.measure > Measure::kSize || !counted) expected.insert(cat(s / "models", "/", file, ".safetensors"));
      if (claim.measure == Measure::kLfw) expected.insert("pairs.txt or lfw.bin");
      if (claim.measure == Measure::kCalfw) expected.insert("pairs_CALFW.txt or calfw.bin");
      if (claim.measure == Measure::kCplfw) expected.insert("pairs_CPLFW.txt or cplfw.bin");
      if (claim.measure == Measure::kSllfw) expected.insert("pair_SLLFW.txt or sllfw.bin");
      if (claim.measure >= Measure::kIjbc5) expected.insert(s / "data/ijbc/meta/ijbc_face_tid_mid.txt");
    }
  }
  EXPECT_EQ(files, expected);
}

INSTANTIATE_TEST_SUITE_P(Table, ToolsReproduce, testing::Range(1, kTables + 1),
                         [](const auto& info) { return std::to_string(info.param); });

TEST(ToolsReproduceTable1, CountsNeedNoFilesAndPrunedNetworksAreRead) {
  const Scratch s;
  io::save_model(s / "iresnet18-pruned.safetensors", nn::make_model("iresnet18", 1, {.channels = 0.125, .embedding = 64}));
  const Json r = vitrine({"reproduce", "table1", "--models", s.path, "--data", s.path, "--out", s / "run", "--json", "-"}).json();
  std::map<std::string, double> ours;
  for (const Json& row : r["rows"])
    if (row.contains("ours") && row["network"] == "iresnet18")
      ours[cat(row["setting"].get<std::string>(), " ", row["measure"].get<std::string>())] = row["ours"];
  EXPECT_NEAR(ours["f32 parameters, M"], 24.0256, 1e-9);
  EXPECT_NEAR(ours["w6a6 size, MB"], 18.177176, 1e-9);
  EXPECT_LT(ours["pruned parameters, M"], 1);
  EXPECT_EQ(vitrine({"reproduce", "table6"}).code, 2);
  EXPECT_EQ(vitrine({"reproduce", "table1", "--quick"}).code, 2);
}

}  // namespace
}  // namespace vitrine::tools
