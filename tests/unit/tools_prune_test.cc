// vitrine prune from end to end: the numbers of the contract, plans that replay, targets, quantizing what is left, refusals.
#include "nn/io/model_file.h"
#include "nn/network.h"
#include "tests/cuda.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/tools_testing.h"

namespace vitrine::tools {
namespace {

using data::Scratch;

// A small teacher on disk.
struct Teacher : Scratch {
  std::string file = *this / "teacher.safetensors";
  Teacher() {
    Model m = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 1.0 / 8, .embedding = 16});
    m.info["shrink"] = "4";
    io::save_model(file, m);
  }
  Json prune(const std::string& out, std::vector<std::string> more) const {
    std::vector<std::string> words{"prune", file, "--out", *this / out, "--json", "-"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome o = vitrine(words);
    EXPECT_EQ(o.code, 0) << o.err;
    return o.json();
  }
};

TEST(ToolsPrune, ContractPlanAndReplay) {
  const Teacher t;
  const Json a = t.prune("a", {"--ratio", "0.2", "--importance", "l1", "--finetune", "none"});
  EXPECT_EQ(a["groups"], 13);
  EXPECT_LT(a["params_after"], a["params_before"]);
  EXPECT_LT(a["macs_after"], a["macs_before"]);
  const Json info = vitrine({"info", a["model"], "--before", t.file, "--json", "-"}).json();
  EXPECT_EQ(info["params"], a["params_after"]);
  int64_t before = 0;
  for (auto& layer : info["pruned"]) before += layer["params_before"].get<int64_t>();
  EXPECT_EQ(before, a["params_before"]);
  const std::string page = read_file(t / "a/report.html");
  EXPECT_NE(page.find("<path fill="), std::string::npos) << "no groups drawn";

  const Json b = t.prune("b", {"--plan", a["plan"], "--finetune", "none"});
  EXPECT_EQ(read_file(a["plan"]), read_file(b["plan"]));
  EXPECT_EQ(io::load_model(a["model"]).info.at("plan"), read_file(a["plan"]));
  for (auto& [name, tensor] : io::load_model(a["model"]).tensors)
    EXPECT_EQ(tensor.values<float>(), io::load_model(b["model"]).tensors.at(name).values<float>());
}

TEST(ToolsPrune, TargetsAndTheEmbedding) {
  const Teacher t;
  const Json half = t.prune("a", {"--target", "macs=50%", "--scope", "global", "--importance", "random", "--finetune", "none"});
  EXPECT_LE(2 * half["macs_after"].get<int64_t>(), half["macs_before"].get<int64_t>());
  const Json shorter = t.prune("b", {"--prune-embedding", "--ratio", "0.5", "--finetune", "none"});
  EXPECT_EQ(shorter["groups"], 14);
  EXPECT_EQ(io::load_model(shorter["model"]).tensors.at("fc.bias").numel(), 8);
}

TEST(ToolsPrune, FineTunedStepByStepThenQuantized) {
  const Teacher t;
  const Json a = t.prune("a", {"--data", "synthetic:8x4", "--batch", "16", "--steps", "2", "--ratio", "0.4", "--finetune", "ekd",
                               "--checkpoint-every", "1", "--compensate", "--importance", "hessian", "--samples", "4", "--round-to", "2"});
  EXPECT_EQ(io::load_model(a["model"]).tensors.at("conv1.weight").shape()[0], 4) << "int(8 * 0.6) = 4";
  EXPECT_GT(a["steps"], 0);
  EXPECT_FALSE(std::filesystem::exists(t / "a/checkpoint.safetensors")) << "nothing could go on from the middle of two prunings";
  const Outcome q =
      vitrine({"quantize", a["model"], "--bits", "w6a6", "--finetune", "none", "--data", "synthetic:8x4", "--out", t / "q", "--json", "-"});
  EXPECT_EQ(q.code, 0) << q.err;
  const Json s = t.prune("s", {"--data", "synthetic:8x4", "--batch", "16", "--sparse", "group", "--finetune", "none"});
  EXPECT_LT(s["params_after"], s["params_before"]);
}

TEST(ToolsPrune, AGrowingRegulariserGrows) {
  const Teacher t;
  auto weights = [&](const std::string& growth, const std::string& every) {
    const Json r =
        t.prune("g" + growth + every, {"--data", "synthetic:8x4", "--batch", "16", "--sparse", "growing", "--sparse-strength", "0",
                                       "--sparse-growth", growth, "--sparse-every", every, "--ratio", "0", "--finetune", "none"});
    return io::load_model(r["model"]).tensors.at("conv1.weight").values();
  };
  EXPECT_NE(weights("0", "1"), weights("0.1", "1"));
  EXPECT_EQ(weights("0", "1"), weights("0.1", "3")) << "there are two steps";
  t.prune("long", {"--data", "synthetic:8x4", "--batch", "16", "--sparse", "bn", "--sparse-epochs", "3", "--finetune", "none"});
  const std::string metrics = read_file(t / "long/metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 6);
}

TEST(CudaPrune, OnADeviceTheModelIsThatOfTheCpu) {
  VITRINE_NEEDS_CUDA;
  const Teacher t;
  auto pruned = [&](const std::string& device) {
    std::vector<std::string> more{"--data",     "synthetic:4x4", "--batch", "16",  "--sparse", "growing", "--sparse-every", "1", "--exact",
                                  "--finetune", "ekd",           "--ratio", "0.3", "--device", device};
    if (device == "cuda") more.push_back("--own-kernels");
    return io::load_model(t.prune(device, more)["model"]).tensors;
  };
  const TensorMap host = pruned("cpu"), device = pruned("cuda");
  for (auto& [name, tensor] : host) EXPECT_EQ(device.at(name).values(), tensor.values()) << name;
  EXPECT_NE(read_file(t / "cuda/run.json").find("\"device\": \"cuda"), std::string::npos);
}

TEST(ToolsPrune, RefusalsSayWhy) {
  const Teacher t;
  const std::string out = t / "r";
  auto refuse = [&](std::vector<std::string> more, const std::string& what) {
    std::vector<std::string> words{"prune", t.file, "--out", out};
    words.insert(words.end(), more.begin(), more.end());
    expect_failure(words, what);
  };
  refuse({}, "--data is needed");
  refuse({"--finetune", "none", "--protect", "nobody"}, "protect 'nobody': no layer with weights has this name");
  refuse({"--finetune", "none", "--round-to", "16"}, "conv1 has 8 channels: it cannot lose any and keep a multiple of 16 rows");
  refuse({"--finetune", "none", "--target", "macs=1"}, "the smallest network that can be had costs");
  refuse({"--finetune", "none", "--layer-ratios", "fc=0.5"}, "fc cannot lose channels: they are the network's output");
  refuse({"--finetune", "none", "--plan", t.write("p.txt", "vitrine plan 1\nconv1.weight 9: 0\n")},
         "conv1.weight has 8 rows, the plan says 9");
  refuse({"--finetune", "mse", "--data", "synthetic:3x4", "--prune-embedding"}, "not with --prune-embedding");
  for (std::vector<std::string> several : {std::vector<std::string>{"--steps", "2"}, {"--sparse", "bn"}}) {
    several.insert(several.begin(), {"prune", t.file, "--out", out, "--data", "synthetic:3x4", "--resume"});
    const Outcome o = vitrine(several);
    EXPECT_EQ(o.code, 2);
    EXPECT_NE(o.err.find("--resume: only where one fine-tuning follows one pruning"), std::string::npos) << o.err;
  }
  EXPECT_FALSE(std::filesystem::exists(out + "/model.safetensors"));
  EXPECT_EQ(vitrine({"prune", t.file, "--ratio", "1.5"}).code, 2);
  ASSERT_EQ(vitrine({"quantize", t.file, "--finetune", "none", "--data", "synthetic:8x4", "--out", t / "q"}).code, 0);
  expect_failure({"prune", t / "q/model.safetensors", "--finetune", "none", "--out", out}, "is quantized: prune first, then quantize");
  ASSERT_EQ(vitrine({"pack", t / "q/model.safetensors", t / "packed.safetensors"}).code, 0);
  expect_failure({"prune", t / "packed.safetensors", "--finetune", "none", "--out", out}, "is packed: prune the float network");
}

}  // namespace
}  // namespace vitrine::tools
