// `vitrine pack` and `vitrine bench`, and the whole way of a model: prune, quantize, pack, evaluate.
#include <filesystem>

#include "engine/ops.h"
#include "nn/io/model_file.h"
#include "nn/io/npy.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/tools_testing.h"

namespace vitrine::tools {
namespace {

using data::Scratch;

struct Small : Scratch {
  std::string teacher = *this / "teacher.safetensors";
  Small() {
    Model m = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 0.125, .embedding = 16});
    m.info["shrink"] = "4";
    io::save_model(teacher, m);
  }
  Json run(std::vector<std::string> words) const {
    words.insert(words.end(), {"--json", "-"});
    const Outcome o = vitrine(words);
    EXPECT_EQ(o.code, 0) << o.err;
    return o.code == 0 ? o.json() : Json();
  }
  Json quantize(const std::string& model, const std::string& scheme, const std::string& bits, const std::string& out) const {
    return run({"quantize", model, "--scheme", scheme, "--bits", bits, "--finetune", "none", "--data", "synthetic:8x4", "--batch", "16",
                "--out", *this / out});
  }
};

TEST(ToolsPack, PrunedQuantizedPackedAndEvaluated) {
  const Small s;
  const std::string faces = s / "faces", packed = s / "packed.safetensors";
  s.run({"render", "lfw", "--pairs", "40", "--out", faces});
  const Json pruned = s.run({"prune", s.teacher, "--ratio", "0.3", "--finetune", "ekd", "--steps", "2", "--batch", "16", "--data",
                             "synthetic:8x4", "--out", s / "pruned"});
  const Json quantized = s.quantize(pruned["model"], "integer", "w6a6", "quantized");
  const Json p = s.run({"pack", quantized["model"], packed});
  EXPECT_EQ(p["model"], packed);
  EXPECT_EQ(p["integer_layers"], p["layers"]) << "all of them on integers";
  EXPECT_EQ(p["bytes_file"], std::filesystem::file_size(packed));
  EXPECT_LT(p["bytes_packed"].get<int64_t>(), 4 * pruned["params_after"].get<int64_t>() / 3);
  EXPECT_EQ(s.run({"info", quantized["model"]})["bytes_packed"], p["bytes_packed"]) << "known before";
  const Json info = s.run({"info", packed});
  EXPECT_EQ(info["bytes_packed"], p["bytes_packed"]);
  EXPECT_EQ(info["macs"], pruned["macs_after"]);

  const auto evaluate = [&](const std::string& model, const std::string& threads) {
    return s.run({"eval", model, "lfw", "--data", faces, "--pairs", faces + "/pairs.txt", "--threads", threads})["benchmarks"];
  };
  const Json one = evaluate(packed, "1");
  EXPECT_EQ(one[0]["pairs"], 40);
  EXPECT_EQ(evaluate(packed, "2"), one);
  // The packed network is the quantized one, but for roundings that fall otherwise here and there: nearer to it than to the teacher.
  const auto embeddings = [&](const std::string& model) {
    s.run({"embed", model, faces, "--out", s / "e.npy"});
    return io::read_npy(s / "e.npy");
  };
  const Tensor a = embeddings(packed), b = embeddings(quantized["model"]), c = embeddings(pruned["model"]);
  ASSERT_EQ(a.shape(), Shape({80, 16}));
  EXPECT_LT(sum(square(sub(a, b))).item(), sum(square(sub(c, b))).item());
}

TEST(ToolsPack, RefusesWhatIsNotQuantized) {
  const Small s;
  const Model wide = quant::integer(nn::open_model(s.teacher), quant::parse_bits("w16a16"));
  io::save_model(s / "wide.safetensors", wide);
  expect_failure({"pack", s / "wide.safetensors", s / "out.safetensors"}, "no layer's weights fit, expected weights of 2 to 8 bits");
  expect_failure({"pack", s.teacher, s / "out.safetensors"}, "teacher.safetensors: ");
  expect_failure({"pack", s / "none.safetensors", s / "out.safetensors"}, "none.safetensors: ");
  EXPECT_FALSE(std::filesystem::exists(s / "out.safetensors"));
  EXPECT_EQ(vitrine({"pack", s.teacher}).code, 2);
}

// The shape of the answer; what it says depends on the machine.
TEST(ToolsBench, RowsAsJsonAndCsv) {
  const Small s;
  const Json r = s.run({"bench", s.teacher, "--bits", "w8a8,f32", "--batch", "1,2", "--repetitions", "1", "--csv", s / "rows.csv"});
  for (const char* key : {"isa", "threads", "fma_flops", "code_ops", "read_bytes"}) EXPECT_TRUE(r["machine"].contains(key)) << key;
  std::set<std::string> networks;
  for (const Json& row : r["rows"]) {
    const auto name = row["name"].get<std::string>();
    if (name.ends_with("network")) networks.insert(name);
    EXPECT_GT(row["median_ns"].get<double>(), 0) << name;
    EXPECT_GE(row["count"].get<int>(), 1) << name;
    for (const char* key : {"spread", "gops", "gbs", "share_of_peak"}) EXPECT_TRUE(std::isfinite(row[key].get<double>())) << name << key;
  }
  EXPECT_EQ(networks, (std::set<std::string>{"w8a8 b1 network", "w8a8 b2 network", "f32 b1 network", "f32 b2 network"}));
  std::istringstream lines(read_file(s / "rows.csv"));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "name,count,median_ns,spread,gops,gbs,share_of_peak");
  for (const Json& row : r["rows"]) {
    ASSERT_TRUE(std::getline(lines, line));
    const std::string begin = cat("\"", row["name"].get<std::string>(), "\",", row["count"].get<int>(), ",");
    EXPECT_EQ(line.substr(0, begin.size()), begin);
    EXPECT_EQ(std::count(line.begin() + static_cast<std::ptrdiff_t>(begin.size()), line.end(), ','), 4);
    EXPECT_NEAR(std::stod(line.substr(begin.size())), row["median_ns"].get<double>(), 1e-4 * row["median_ns"].get<double>());
  }
  EXPECT_FALSE(std::getline(lines, line));

  const std::string packed = s / "packed.safetensors";
  s.run({"pack", s.quantize(s.teacher, "integer", "w4a4", "quantized")["model"], packed});
  EXPECT_EQ(s.run({"bench", packed, "--batch", "1", "--repetitions", "1"})["rows"][0]["name"], "packed b1 network");
  expect_failure({"bench", s.teacher, "--bits", "w99a1", "--repetitions", "1"}, "w99a1");
  EXPECT_EQ(vitrine({"bench", s.teacher, "--batch", "0"}).code, 2);
}

TEST(ToolsBench, WeightsThatOverflowAreTimedAllTheSame) {
  const Scratch s;
  Model m = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 0.125, .embedding = 16});
  for (auto& [name, t] : m.tensors)
    if (t.shape().rank() == 4) t = mul(t, Tensor::full({}, 1e12));
  io::save_model(s / "large.safetensors", m);
  const Outcome o = vitrine({"bench", s / "large.safetensors", "--bits", "w8a8,w6a6", "--batch", "1", "--repetitions", "1"});
  EXPECT_EQ(o.code, 0) << o.err;
}

}  // namespace
}  // namespace vitrine::tools
