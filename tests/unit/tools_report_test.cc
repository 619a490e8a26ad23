// Pages of evaluations: what is on them, two runs side by side, and that a browser shows them, light and dark, without fetching anything.
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "data/codec.h"
#include "nn/io/model_file.h"
#include "nn/network.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/tools_testing.h"
#include "tools/report.h"

namespace vitrine::tools {
namespace {

using data::Scratch;
namespace fs = std::filesystem;

// Two models that judge the same rendered pairs and templates; made once, written over by nobody.
struct Runs : Scratch {
  std::string a = *this / "a", b = *this / "b";
  Runs() {
    const std::string faces = *this / "faces", set = *this / "set";
    EXPECT_EQ(vitrine({"render", "lfw", "--pairs", "40", "--out", faces}).code, 0);
    EXPECT_EQ(vitrine({"render", "ijbc", "--subjects", "4", "--out", faces}).code, 0);
    for (const std::string& run : {a, b}) {
      auto m = nn::make_model("iresnet18", run == a ? 1 : 2, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16});
      m.info["shrink"] = "4";
      io::save_model(run + ".safetensors", m);
      const Outcome o = vitrine(
          {"eval", run + ".safetensors", "lfw", "ijbc", "--pairs", faces + "/pairs.txt", "--data", faces, "--no-flip", "--out", run});
      EXPECT_EQ(o.code, 0) << o.err;
    }
  }
};

const Runs& runs() {
  static const Runs made;
  return made;
}

int count_of(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// Pictures may spell anything in base64.
std::string without_pictures(std::string html) {
  for (size_t at = html.find("base64,"); at != html.npos; at = html.find("base64,", at + 1))
    html.erase(at + 7, html.find('\'', at) - at - 7);
  return html;
}

TEST(ToolsReport, EvaluationsHaveCardRatesCurvesHistogramsAndHardestPairs) {
  const std::string html = without_pictures(read_file(runs().a + "/report.html"));
  EXPECT_EQ(count_of(html, "<svg"), 4);              // a curve and histogram per benchmark
  EXPECT_EQ(count_of(html, "<img"), 2 * 2 * 8);      // eight pairs of either class
  EXPECT_EQ(count_of(html, "fill-opacity"), 2 * 2);  // two classes per histogram
  const Json record = Json::parse(read_file(runs().a + "/run.json"));
  for (const std::string part : {"sha256", "ijbc, N1D1F0", "prefers-color-scheme:dark", "1:N, open set, gallery 2"})
    EXPECT_NE(html.find(part), html.npos) << part;
  EXPECT_NE(html.find(record["result"]["card"]["sha256"].get<std::string>()), html.npos);
  for (const char* part : {"http", "<script", "url(", "nan"}) EXPECT_EQ(html.find(part), html.npos) << part;
  EXPECT_EQ(count_of(read_file(runs().a + "/pairs-lfw.tsv"), "\n"), 41);
}

// Pruning in steps trains several times, each time from step 1.
TEST(ToolsReport, TrainingsOfOneRunAreDrawnOneBehindTheOther) {
  std::vector<Json> steps;
  for (int step : {1, 2, 3, 1, 2, 3, 4}) steps.push_back({{"step", step}, {"loss", 1.0 / step}});
  HtmlPage page("");
  add_training_plots(page, steps);
  page.save(runs() / "steps.html");
  const std::string html = read_file(runs() / "steps.html");
  EXPECT_NE(html.find(">7</text>"), html.npos) << "the last of seven steps";
  size_t at = html.find("d='M") + 4;
  for (double before = 0, x = 0; std::isdigit(html[at]); before = x) {
    x = std::stod(html.substr(at));
    EXPECT_GT(x, before);
    at = html.find_first_of("L'", at) + 1;
  }
}

TEST(ToolsReport, RunsOnOtherPairsHaveNoPairedTest) {
  std::string other = read_file(runs().b + "/pairs-lfw.tsv");
  const size_t at = other.find('\n') + 1;
  other.replace(at, other.find('\t', at) - at, "somebody/else.png");
  runs().write("d/pairs-lfw.tsv", other);
  std::filesystem::copy_file(runs().b + "/run.json", runs() / "d/run.json", std::filesystem::copy_options::overwrite_existing);
  const Outcome o = vitrine({"report", runs().a, runs() / "d", "--out", runs() / "ad.html", "--json", "-"});
  EXPECT_FALSE(o.json()["benchmarks"][0].contains("p"));
  EXPECT_NE(o.err.find("none: other pairs"), o.err.npos) << o.err;
}

TEST(ToolsReport, TwoRunsAreComparedPairByPair) {
  const Json list = vitrine({"report", runs().a, runs().b, "--out", runs() / "ab.html", "--json", "-"}).json()["benchmarks"];
  ASSERT_EQ(list.size(), 1 + 6);
  const Json& lfw = list[0];
  EXPECT_EQ(lfw["name"], "lfw");
  const auto correct = [&](const std::string& run) {
    return Json::parse(read_file(run + "/run.json"))["result"]["benchmarks"][0]["correct"].get<int>();
  };
  EXPECT_EQ(lfw["only_a"].get<int>() - lfw["only_b"].get<int>(), correct(runs().a) - correct(runs().b));
  EXPECT_TRUE(lfw["p"] > 0 && lfw["p"] <= 1);
  EXPECT_EQ(count_of(read_file(runs() / "ab.html"), "<svg"), 2);
  const Json same = vitrine({"report", runs().a, runs().a, "--out", runs() / "aa.html", "--json", "-"}).json()["benchmarks"];
  EXPECT_EQ(same[0]["p"], 1);

  expect_failure({"report", runs().a, runs() / "none"}, "none/run.json: ");
  runs().write("junk/run.json", "{]");
  expect_failure({"report", runs().a, runs() / "junk"}, "junk/run.json: expected the run.json of");
  runs().write("c/pairs-lfw.tsv", "image\timage\tsame\tfold\tdistance\tcorrect\na\tb\t1\t1\tx\t1\n");
  std::filesystem::copy_file(runs().b + "/run.json", runs() / "c/run.json");
  expect_failure({"report", runs().a, runs() / "c"}, "pairs-lfw.tsv:2: 'x', expected a distance");
}

std::string browser() {
  for (const char* path : {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"})
    if (fs::exists(path)) return path;
  return "";
}

// The corner's brightness in a screenshot, 0 .. 255; -1 if there is none.
int brightness(const std::string& picture) {
  if (!fs::exists(picture)) return -1;
  const data::Image image = data::read_image(picture);
  return (image.pixels[0] + image.pixels[1] + image.pixels[2]) / 3;
}

TEST(ToolsReport, ABrowserShowsThePageInBothModes) {
  if (browser().empty()) GTEST_SKIP() << "no chromium installed (apt-get install chromium)";
  const std::string base =
                        cat("timeout 60 ", browser(), " --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,1400 ",
                            "--user-data-dir=", runs() / "profile", " "),
                    page = cat(" file://", runs().a, "/report.html 2>/dev/null");
  ASSERT_EQ(std::system(cat(base, "--dump-dom", page, " > ", runs() / "dom.html").c_str()), 0);
  const std::string dom = read_file(runs() / "dom.html");
  EXPECT_EQ(count_of(dom, "<svg"), 4);
  EXPECT_EQ(count_of(dom, "<img"), 32);
  ASSERT_EQ(std::system(cat(base, "--screenshot=", runs() / "light.png", page, " > /dev/null").c_str()), 0);
  ASSERT_EQ(
      std::system(cat(base, "--blink-settings=preferredColorScheme=0 --screenshot=", runs() / "dark.png", page, " > /dev/null").c_str()),
      0);
  EXPECT_GT(brightness(runs() / "light.png"), 200);
  const int dark = brightness(runs() / "dark.png");
  EXPECT_TRUE(dark >= 0 && dark < 60) << dark;
}

}  // namespace
}  // namespace vitrine::tools
