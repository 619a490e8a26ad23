// The command line as scripts use it: exit codes, one clear line for bad input, JSON, run records, equal files from equal runs.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "data/codec.h"
#include "data/synthetic.h"
#include "nn/io/model_file.h"
#include "nn/io/onnx.h"
#include "nn/io/onnx.pb.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/tools_testing.h"
#include "tools/datasets.h"
#include "tools/progress.h"
#include "tools/sha256.h"

namespace vitrine::tools {
namespace {

using data::Scratch;

// Three people with four crops each, and a list of pairs in LFW's format.
struct Faces : Scratch {
  Faces() {
    for (int person = 0; person < 3; ++person)
      for (int i = 1; i <= 4; ++i) {
        const std::string name(1, static_cast<char>('A' + person));
        std::filesystem::create_directories(*this / name);
        data::write_image(*this / cat(name, "/", name, "_000", i, ".png"), data::gradient(112, 112, 7 * person + i));
      }
  }
};

TEST(Data, PeopleOfAPairListCanBeLeftOut) {
  const Faces faces;
  const std::string list = faces.write("pairs.txt", "2 1\nA 1 2\nA 3 B 1\nB 1 2\nB 3 A 1\n"),
                    others = faces.write("others.txt", "2 1\nX 1 2\nX 3 Y 1\nY 1 2\nY 3 X 1\n");
  const OpenedSet opened(faces.path, 1, 0, list);
  ASSERT_EQ(opened.set().size(), 4);
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(opened.set().name(i).find("/A"), std::string::npos) << opened.set().name(i);
  EXPECT_EQ(OpenedSet(faces.path, 0.5, 0, list).set().size(), 2) << "a fraction of those who are left";
  EXPECT_THROW(OpenedSet(faces.path, 1, 0, others), Error);
  const std::string all = faces.write("all.txt", "2 1\nA 1 2\nA 3 B 1\nC 1 2\nB 3 C 1\n");
  EXPECT_NE(data::error_of([&] { OpenedSet(faces.path, 1, 0, all); }).find("names everybody"), std::string::npos);
}

TEST(Tools, WrongUsageIsExitCodeTwo) {
  EXPECT_EQ(vitrine({}).code, 2);
  EXPECT_EQ(vitrine({"frobnicate"}).code, 2);
  EXPECT_EQ(vitrine({"info"}).code, 2);
  EXPECT_EQ(vitrine({"info", "iresnet18", "--thread", "x"}).code, 2);
  EXPECT_EQ(vitrine({"info", "iresnet18", "--threads", "-1"}).code, 2);
  EXPECT_EQ(vitrine({"info", "iresnet18", "--bits", "w99a1"}).code, 2);
  EXPECT_EQ(vitrine({"quantize", "iresnet18", "--fraction", "0"}).code, 2);
  EXPECT_EQ(vitrine({"--help"}).code, 0);
  for (const std::string name : {"align", "convert", "demo", "embed", "eval", "info", "quantize", "render", "train"})
    EXPECT_EQ(vitrine({name, "--help"}).code, 0) << name;
}

TEST(Tools, BadInputIsOneClearLineAndExitCodeOne) {
  const Scratch scratch;
  const std::string junk = scratch.write("junk.pth", std::string(200, 'x')), empty = scratch.write("empty.safetensors", "");
  expect_failure({"info", "resnet19"}, "resnet19");
  expect_failure({"info", scratch / "none.safetensors"}, "none.safetensors: ");
  expect_failure({"info", junk}, "junk.pth: ");
  expect_failure({"info", empty}, "empty.safetensors: ");
  expect_failure({"convert", "mobilefacenet", scratch / "m.txt"}, "m.txt: expected a name that ends in");
  expect_failure({"convert", "mobilefacenet", scratch / "m.safetensors", "--mean", "1e300"}, "mean='1e300'");
  expect_failure({"convert", "mobilefacenet", scratch / "m.safetensors", "--crop", "112x96"}, "the network takes 112x112");
  expect_failure({"embed", "mobilefacenet", junk, "--out", scratch / "e.npy"}, "junk.pth: ");
  expect_failure({"quantize", "mobilefacenet", "--data", "/no/such/folder"}, "/no/such/folder: ");
  expect_failure({"quantize", "mobilefacenet", "--data", "synthetic:3y4"}, "expected synthetic:<identities>x<images>");
  const std::string tested = cat("synthetic:", data::kHeldOut + 1, "x1");  // the last is a person of the built-in lists
  expect_failure({"quantize", "mobilefacenet", "--data", tested}, cat("at most ", data::kHeldOut, " identities"));
  expect_failure({"quantize", "mobilefacenet", "--data", "synthetic:3x4", "--finetune", "ekd+x", "--out", scratch / "r"}, "'ekd+x'");
  expect_failure({"align", "--images", scratch.path, "--landmarks", scratch.write("l.txt", "a.jpg 1 2 3\n"), "--out", scratch / "o"},
                 "l.txt:1: ");
  expect_failure({"align", "--images", scratch.path, "--out", scratch / "o", "--landmarks",
                  scratch.write("l.txt", "../a.jpg 30 50 70 50 50 70 40 90 70 90\n")},
                 "expected a path inside");
  for (const char* option : {"--flip", "--names=n.txt"})
    expect_failure({"embed", "mobilefacenet", "--tensor", junk, "--out", scratch / "e.npy", option}, "--flip and --names are for IMAGES");
  expect_failure({"info", "caf\xe9.safetensors"}, "argument 2: byte 233 at column 4 is not UTF-8");
  expect_failure({"quantize", "mobilefacenet", "--data", "synthetic:3x4", "--freeze-after", "0", "--out", scratch / "r"},
                 "--freeze-after 0");
  scratch.write("real/meta/ijbc_template_pair_label.txt", "1 2 1\n");
  expect_failure({"render", "ijbc", "--out", scratch / "real"}, "real: has meta already, expected a folder without a set");
  EXPECT_FALSE(std::filesystem::exists(scratch / "e.npy"));
  EXPECT_FALSE(std::filesystem::exists(scratch / "m.safetensors"));
}

TEST(Tools, AlignRefusesTwoSourcesOfOneCropBeforeItBegins) {
  const Scratch s;
  const std::string points = " 30 50 70 50 50 70 40 90 70 90\n";
  for (auto [a, b] : {std::pair("x.jpeg", "x.jpg"), std::pair("p/./x.jpg", "p/x.jpg"), std::pair("p//x.jpg", "p/x.png")}) {
    const std::string list = s.write("l.txt", cat("y.jpg", points, a, points, b, points));
    expect_failure({"align", "--images", s.path, "--landmarks", list, "--out", s / "o"}, cat(a, " and ", b, " would both become "));
  }
  EXPECT_FALSE(std::filesystem::exists(s / "o"));
}

TEST(Tools, ConvertedModelsKeepTheirFirstSourceWithItsSum) {
  const Scratch s;
  const std::string first = s / "first.onnx", second = s / "second.safetensors", third = s / "third.onnx", fourth = s / "4.safetensors";
  ASSERT_EQ(vitrine({"convert", "mobilefacenet", s / "a.safetensors"}).code, 0);
  ASSERT_FALSE(io::load_model(s / "a.safetensors").info.contains("source_sha256"));  // a name has none
  ASSERT_EQ(vitrine({"convert", s / "a.safetensors", first}).code, 0);
  onnx::ModelProto proto;
  ASSERT_TRUE(proto.ParseFromString(read_file(first)));
  EXPECT_FALSE(io::import_onnx(first).info.contains("source_sha256")) << "of another file than the source";
  proto.clear_metadata_props();
  s.write("first.onnx", proto.SerializeAsString());  // as somebody else writes it
  for (auto [in, out] : {std::pair(first, second), std::pair(second, third), std::pair(third, fourth)})
    ASSERT_EQ(vitrine({"convert", in, out}).code, 0);
  const auto info = io::load_model(fourth).info;
  EXPECT_EQ(info.at("source"), "first.onnx");
  EXPECT_EQ(info.at("source_sha256"), sha256_file(first));
}

TEST(Tools, WhatNoRunCouldMakeSenseOfIsWrongUsage) {
  const std::pair<std::vector<std::string>, const char*> calls[] = {
      {{"prune", "mobilefacenet", "--finetune", "none", "--out", "r", "--target", "params=inf"}, "'params=inf'"},
      {{"prune", "mobilefacenet", "--finetune", "none", "--out", "r", "--target", "size=1"}, "expected params=, macs= or bytes="},
      {{"prune", "mobilefacenet", "--finetune", "none", "--out", "r", "--target", "macs=50%", "--steps", "2"}, "nor with --target"},
      {{"quantize", "mobilefacenet", "--finetune", "none", "--out", "r", "--layer-bits", "conv1=w99a8"}, "w99a8"},
      {{"convert", "mobilefacenet", "m.safetensors", "--crop", "112"}, "expected HEIGHTxWIDTH"},
      {{"eval", "mobilefacenet"}, "expected a benchmark"},
      {{"eval", "mobilefacenet", "lfw", "--resume"}, "--resume goes with --out"},
      {{"info", "iresnet18", "--device", "cpu", "--tuned"}, "--tuned: only with cuDNN on a cuda device"},
      {{"info", "iresnet18", "--device", "cpu", "--precision", "bf16"}, "--precision bf16: only with"},
      {{"embed", "mobilefacenet", "--out", "r"}, "expected either IMAGES or --tensor"},
      {{"eval", "mobilefacenet", "lfw"}, "name its list with --pairs"},
      {{"eval", "mobilefacenet", "lfw", "--pairs", "tests/golden/eval/pairs.txt"}, "expected --data"},
      {{"train", "--data", "synthetic:3x4", "--side", "50", "--out", "r"}, "--side 50: a divisor of 112"},
  };
  for (const auto& [call, what] : calls) expect_wrong_usage(call, what);
  EXPECT_FALSE(std::filesystem::exists("r"));
}

TEST(Tools, ProgressOfAQuickJobIsOneLineInALog) {
  const Stopwatch watch;
  testing::internal::CaptureStderr();
  {
    Progress quick("embed", 480);
    for (int i = 0; i < 15; ++i) quick.add(32, cat("batch ", i));
    Progress continued("train", 20, "steps"), idle("nothing", 9);
    continued.add(15), continued.add(5);
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("embed [########################] 480/480 images  "), std::string::npos) << log;
  EXPECT_NE(log.find("\ntrain [########################] 20/20 steps  "), std::string::npos) << log;
  EXPECT_NE(log.find("batch 14\n"), std::string::npos) << log;
  if (watch.seconds() < 1) {  // else the machine stood still, and more lines are right
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 2) << log;
  }
}

TEST(Tools, NumbersThatAreNoneAreWrongUsage) {
  for (const char* option :
       {"--width=nan", "--fraction=nan", "--lr=inf", "--seed=-1", "--seed=99999999999999999999", "--batch=0", "--threads=-1"}) {
    const Outcome o = vitrine({"train", "--data", "synthetic:3x4", option});
    EXPECT_EQ(o.code, 2) << option;
  }
  EXPECT_EQ(vitrine({"inf", "mobilefacenet"}).code, 2);
}

TEST(Tools, WhatACommandReadsItDoesNotWrite) {
  const Scratch s;
  const std::string model = s / "m.safetensors", run = s / "run", image = s / "images/a.png";
  ASSERT_EQ(vitrine({"train", "--data", "synthetic:4x4", "--side", "28", "--width", "0.0625", "--batch", "8", "--out", run}).code, 0);
  std::filesystem::copy_file(run + "/model.safetensors", model);
  const std::string bytes = read_file(model);
  expect_failure({"info", model, "--json", model}, "m.safetensors: is read as MODEL");
  expect_failure({"convert", model, s / "./m.safetensors"}, "m.safetensors: is read as IN");
  expect_failure({"pack", model, model}, "is read as MODEL");
  expect_failure({"embed", model, "--tensor", model, "--out", model}, "is read as");
  expect_failure({"embed", model, s.path, "--out", s / "e.npy", "--names", s / "e.npy"}, "is written as --out");
  expect_failure({"embed", model, s.path, "--out", s / "no/e.npy"}, "no/e.npy: no folder ");
  expect_failure({"info", model, "--json", run}, "is a folder, expected a file");
  expect_failure({"report", run, run, "--out", run + "/run.json"}, "run.json: is a file of A");
  s.write("images/e.npy", "an earlier result");
  expect_failure({"embed", model, s / "images", "--out", s / "images/e.npy"}, "images: no .jpg, .jpeg or .png in it, expected images");
  expect_failure({"eval", run + "/model.safetensors", "synthetic-lfw", "--out", run}, "run: holds what is read as MODEL");
  expect_failure({"quantize", run + "/model.safetensors", "--data", "synthetic:4x4", "--out", run}, "run: holds what is read as TEACHER");
  expect_failure({"align", "--images", run, "--landmarks", model, "--out", run}, "run: holds what is read as --images");
  EXPECT_EQ(read_file(model), bytes);
  EXPECT_EQ(read_file(run + "/model.safetensors"), bytes);
}

TEST(Tools, ARunThatCannotBeginTakesNothingAway) {
  const Scratch s;
  const std::string run = s / "run";
  auto train = [&](const std::string& out, std::vector<std::string> more) {
    std::vector<std::string> c{"train", "--data", "synthetic:4x4", "--side", "28", "--width", "0.0625", "--checkpoint-every", "1",
                               "--out", out};
    c.insert(c.end(), more.begin(), more.end());
    return c;
  };
  ASSERT_EQ(vitrine(train(run, {"--batch", "8"})).code, 0);
  const std::string record = read_file(run + "/run.json"), metrics = read_file(run + "/metrics.jsonl");
  expect_failure(train(run, {"--batch", "9999"}), "no full batch");
  expect_failure(train(run, {"--batch", "8", "--warmup", "100000"}), "warm");
  EXPECT_EQ(read_file(run + "/run.json"), record);
  EXPECT_EQ(read_file(run + "/metrics.jsonl"), metrics);
  // A run that ends in its middle leaves no record of the run before.
  expect_failure(train(run, {"--batch", "8", "--lr", "1e30", "--clip", "0"}), "training diverged");
  EXPECT_FALSE(std::filesystem::exists(run + "/run.json"));
  std::filesystem::remove_all(run);
  ASSERT_EQ(vitrine(train(run, {"--batch", "8"})).code, 0);
  std::filesystem::copy(run, s / "copy");
  auto seldom = train(s / "copy", {"--batch", "8"});
  *std::find(seldom.begin(), seldom.end(), "1") = "9999";
  ASSERT_EQ(vitrine(seldom).code, 0);
  EXPECT_FALSE(std::filesystem::exists(s / "copy/checkpoint.safetensors")) << "of an earlier run";
  expect_failure(train(s / "new", {"--batch", "9999"}), "no full batch");
  EXPECT_FALSE(std::filesystem::exists(s / "new"));

  // Of a run that is not finished the checkpoint is not taken either; of a finished one without any there is nothing to resume.
  std::filesystem::remove(run + "/run.json");
  expect_failure(train(run, {"--batch", "8"}), "checkpoint.safetensors: of a run that is not finished: go on with --resume");
  EXPECT_EQ(vitrine(train(run, {"--batch", "8", "--resume"})).code, 0);
  for (auto [lines, what] :
       {std::pair("{}\n", "metrics.jsonl: 1 lines, the checkpoint is of step "), {"{}\nx\n", "metrics.jsonl:2: not JSON"}}) {
    s.write("run/metrics.jsonl", lines);
    expect_failure(train(run, {"--batch", "8", "--resume"}), what);
  }
  std::filesystem::remove(run + "/checkpoint.safetensors");
  expect_failure(train(run, {"--batch", "8", "--resume"}), "checkpoint.safetensors: missing, and the run is finished");
  EXPECT_EQ(vitrine(train(s / "fresh", {"--batch", "8", "--resume"})).code, 0);
  auto other = train(s / "fresh", {"--batch", "8", "--resume"});
  other[2] = "synthetic:5x4";
  expect_failure(other, "of a run with inputs/data \"synthetic:4x4\", expected \"synthetic:5x4\"");
}

TEST(Tools, LinksStayLinksAndPipesAreWrittenTo) {
  const Scratch s;
  s.write("target.json", "old");
  std::filesystem::create_symlink("target.json", s / "link.json");
  ASSERT_EQ(vitrine({"info", "mobilefacenet", "--json", s / "link.json"}).code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(s / "link.json"));
  EXPECT_EQ(Json::parse(read_file(s / "target.json"))["model"], "mobilefacenet");
  expect_failure({"info", "mobilefacenet", "--json", "/dev/full"}, "/dev/full: cannot be written: No space left on device");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
  EXPECT_EQ(WEXITSTATUS(std::system("build/vitrine info mobilefacenet >/dev/full 2>/dev/null")), 1) << "a result that nobody got";
}

TEST(Tools, InfoAsJsonHasTheNumbersOfTheContract) {
  const Json info = vitrine({"info", "iresnet18", "--bits", "w6a6", "--json", "-"}).json();
  EXPECT_EQ(info["params"], 24025600);
  EXPECT_EQ(info["trainable"], 24025088);
  EXPECT_EQ(info["bytes_float"], 4 * 24025600);
  EXPECT_EQ(info["bits"], "w6a6");
  EXPECT_GT(info["layers"].size(), 50);
  int64_t macs = 0;
  for (auto& layer : info["layers"]) macs += layer["macs"].get<int64_t>();
  EXPECT_EQ(info["macs"], macs);
}

// Seed, data and batches decide the model; the number of threads does not.
TEST(Tools, EqualRunsGiveIdenticalModelFiles) {
  const Faces faces;
  const Scratch out;
  const std::string list = out.write("batches.txt", "0 1 2 3 -5 -6\n4 5 8 9 -11 -12\n");
  std::vector<std::string> digests;
  for (const std::string threads : {"1", "2", "2"}) {
    const std::string run = out / cat("run", digests.size());
    const Json result = vitrine({"quantize", "mobilefacenet", "--bits", "w6a6", "--data", faces.path, "--batches", list, "--out", run,
                                 "--threads", threads, "--json", "-"})
                            .json();
    EXPECT_EQ(result["steps"], 2);
    const Json record = Json::parse(read_file(run + "/run.json"));
    EXPECT_EQ(record["machine"]["threads"], std::stoi(threads));
    EXPECT_EQ(record["inputs"]["batches"]["sha256"], sha256_file(list));
    EXPECT_EQ(record["outputs"]["model.safetensors"], sha256_file(run + "/model.safetensors"));
    EXPECT_EQ(record["outputs"].value("metrics.jsonl", ""), sha256_file(run + "/metrics.jsonl"));
    digests.push_back(record["outputs"]["model.safetensors"]);
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_EQ(digests[1], digests[2]);
}

TEST(Tools, BatchListsBeyondTheDataAreRefused) {
  const Faces faces;
  const Scratch out;
  for (const std::string text : {"0 12\n", "-13\n", "0 x\n", ""})
    expect_failure({"quantize", "mobilefacenet", "--data", faces.path, "--out", out / "run", "--batches", out.write("b.txt", text)},
                   "b.txt:");
}

// align -> embed -> eval of those embeddings equals eval of the model.
TEST(Tools, EvalOfEmbeddingsMadeElsewhereEqualsEvalOfTheModel) {
  const Faces faces;
  const Scratch out;
  std::string pairs = "2\t1\n";  // two folds of one pair each way
  pairs += "A\t1\t2\nA\t1\tB\t1\nC\t3\t4\nB\t2\tC\t4\n";
  const std::string list = out.write("pairs.txt", pairs);
  ASSERT_EQ(vitrine({"embed", "mobilefacenet", faces.path, "--out", out / "e.npy", "--names", out / "names.txt"}).code, 0);
  const Json direct = vitrine({"eval", "mobilefacenet", "lfw", "--data", faces.path, "--pairs", list, "--no-flip", "--json", "-"}).json();
  const Json reused = vitrine({"eval", "elsewhere", "lfw", "--embeddings", out / "e.npy", "--names", out / "names.txt", "--pairs", list,
                               "--data", faces.path, "--json", "-"})
                          .json();
  ASSERT_EQ(direct["benchmarks"].size(), 1);
  for (const char* key : {"pairs", "correct", "accuracy", "std", "folds", "thresholds"})
    EXPECT_EQ(direct["benchmarks"][0][key], reused["benchmarks"][0][key]) << key;
  EXPECT_EQ(direct["benchmarks"][0]["pairs"], 4);
  for (const char* flip : {"--flip", "--no-flip"})
    ASSERT_EQ(vitrine({"eval", "mobilefacenet", "lfw", "--data", faces.path, "--pairs", list, flip, "--out", out / flip}).code, 0);
  EXPECT_NE(read_file(out / "--flip/pairs-lfw.tsv"), read_file(out / "--no-flip/pairs-lfw.tsv")) << "mirrored images are others";
  const std::string names = read_file(out / "names.txt"), first = names.substr(0, names.find('\n') + 1);
  out.write("names.txt", first + names.substr(0, names.rfind('\n', names.size() - 2) + 1));
  expect_failure(
      {"eval", "elsewhere", "lfw", "--embeddings", out / "e.npy", "--names", out / "names.txt", "--pairs", list, "--data", faces.path},
      "names.txt:2: ");
}

// Labels are the names in the folder, wherever links lead.
TEST(Tools, AFoldersSumIsOfItsNamesNotOfWhatLinksLeadTo) {
  namespace fs = std::filesystem;
  const Scratch s;
  s.write("a/1.png", "A"), s.write("b/1.png", "B");
  const auto linked = [&](const std::string& set, const std::string& to_p, const std::string& to_q) {
    fs::create_directories(s / set);
    fs::create_directory_symlink(s / to_p, s / (set + "/p")), fs::create_directory_symlink(s / to_q, s / (set + "/q"));
    return sha256_path(s / set);
  };
  const std::string sum = linked("set", "a", "b");
  EXPECT_NE(linked("swapped", "b", "a"), sum);
  s.write("copy/p/1.png", "A"), s.write("copy/q/1.png", "B");
  EXPECT_EQ(sha256_path(s / "copy"), sum);
}

}  // namespace
}  // namespace vitrine::tools
