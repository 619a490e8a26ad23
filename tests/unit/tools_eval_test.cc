// `vitrine eval` on the layouts of distributed sets and on IJB: files found, errors that name what is missing, restarts, embeddings from
// elsewhere.
#include <filesystem>
#include <fstream>
#include <iomanip>

#include "data/codec.h"
#include "nn/io/model_file.h"
#include "nn/io/npy.h"
#include "nn/network.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/tools_testing.h"

namespace vitrine::tools {
namespace {

using data::Scratch;
namespace fs = std::filesystem;

// A network small enough to embed a few dozen faces in no time.
struct Small : Scratch {
  std::string model = *this / "small.safetensors";
  Small() {
    auto m = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16});
    m.info["shrink"] = "4";
    io::save_model(model, m);
  }
  Json eval(std::vector<std::string> more) const {
    more.insert(more.begin(), {"eval", model}), more.insert(more.end(), {"--json", "-"});
    const Outcome o = vitrine(more);
    EXPECT_EQ(o.code, 0) << o.err;
    return o.code == 0 ? o.json()["benchmarks"] : Json();
  }
  void failure(std::vector<std::string> more, const std::string& what) const {
    more.insert(more.begin(), {"eval", model});
    expect_failure(more, what);
  }
};

void write_crop(const std::string& path, int seed) {
  fs::create_directories(fs::path(path).parent_path());
  data::write_image(path, data::gradient(112, 112, seed));
}

std::string calfw_list(int folds, int each) {
  std::string text;
  for (int label : {1, 0})
    for (int i = 0; i < folds * each; ++i) {
      const int token = label ? 1 + i / each : 0;
      text += cat("P", i, "_0001.jpg ", token, "\n", label ? "P" : "Q", i, "_0002.jpg ", token, "\n");
    }
  return text;
}

// The list and a folder "aligned images" of flat files, as CALFW comes, in a folder of its name.
TEST(ToolsEval, FindsListAndImagesWhereDistributedSetsHaveThem) {
  const Small s;
  s.write("calfw/pairs_CALFW.txt", calfw_list(2, 2));
  for (int i = 0; i < 4; ++i)
    for (const char* name : {"P0_0001", "P0_0002", "Q0_0002"})
      write_crop(s / cat("calfw/aligned images/", name[0], i, name + 2, ".jpg"), i + name[0]);
  const Json b = s.eval({"calfw", "--data", s.path, "--no-flip"});
  EXPECT_EQ(b[0]["pairs"], 8);
  EXPECT_EQ(b[0]["folds"].size(), 2);
  fs::remove(s / "calfw/aligned images/Q2_0002.jpg");
  s.failure({"calfw", "--data", s.path}, "1 of 12 images are not below");
  s.failure({"calfw", "--data", s.path}, "the first is Q2_0002.jpg");
  s.failure({"cplfw", "--data", s.path}, "pairs_CPLFW.txt or cplfw.bin: not in ");
  s.failure({"agedb", "--data", s.path}, "agedb_30.bin: not in ");
  expect_wrong_usage({"eval", s.model, "frobnicate", "--data", s.path}, "benchmark 'frobnicate': expected lfw, calfw");
}

// CFP as distributed: lists of paths and, per fold, pairs of their numbers.
struct Cfp : Small {
  Cfp() {
    for (const char* kind : {"F", "P"}) {
      std::string list;
      for (int i = 0; i < 40; ++i) {
        const std::string path = cat("Data/Images/", i / 2, kind[0] == 'F' ? "/frontal/" : "/profile/", i % 2, ".jpg");
        list += cat(i + 1, " ../", path, "\r\n");
        write_crop(*this / path, i + kind[0]);
      }
      write(cat("Protocol/Pair_list_", kind, ".txt"), list);
    }
    for (const char* kind : {"FF", "FP"})
      for (int fold = 0; fold < 10; ++fold) {
        const std::string folder = cat("Protocol/Split/", kind, fold < 9 ? "/0" : "/", fold + 1, "/");
        write(folder + "same.txt", cat(4 * fold + 1, ",", 4 * fold + 2, "\n"));
        write(folder + "diff.txt", cat(4 * fold + 1, ",", 4 * fold + 3, "\n"));
      }
  }
};

TEST(ToolsEval, CfpIsReadFromItsFolders) {
  const Cfp s;
  const Json b = s.eval({"cfp-ff", "cfp-fp", "--data", s.path, "--no-flip"});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(b[i]["pairs"], 20);
    EXPECT_EQ(b[i]["folds"].size(), 10);
  }
  s.write("Protocol/Split/FF/03/same.txt", "9,10\n9,10\n");
  s.failure({"cfp-ff", "--data", s.path}, "same.txt:2: 'Data/Images/4/frontal/0.jpg' and 'Data/Images/4/frontal/1.jpg' again");
  s.write("Protocol/Split/FF/03/same.txt", "9,41\n");
  s.failure({"cfp-ff", "--data", s.path}, "same.txt:1: '41', expected a number from 1 to 40");
  s.write("Protocol/Split/FF/03/same.txt", "9;10\n");
  s.failure({"cfp-ff", "--data", s.path}, "same.txt:1: '9;10', expected 'i,j'");
  s.write("Protocol/Split/FF/03/same.txt", "9,10\n9,12\n");
  s.failure({"cfp-ff", "--data", s.path}, "fold 3 of 10 has 2 same and 1 different pairs");
  s.write("Protocol/Pair_list_P.txt", "1 ../../secret.jpg\n");
  s.failure({"cfp-fp", "--data", s.path}, "Pair_list_P.txt:1: '../secret.jpg', expected a relative path that stays inside");
  s.write("Protocol/Pair_list_P.txt", "2 ../Data/1.jpg\n");
  s.failure({"cfp-fp", "--data", s.path}, "Pair_list_P.txt:1: '2', expected a number from 1 to 1");
}

// A .bin of twenty pairs, protocol 2 with str; all same pairs first if `sorted`.
std::string bin_of(bool sorted) {
  std::string images, flags;
  const auto bytes = data::encode_png(data::gradient(112, 112, 1));
  for (int i = 0; i < 40; ++i) {
    const auto size = static_cast<uint32_t>(bytes.size());
    images += 'T' + std::string(reinterpret_cast<const char*>(&size), 4) + std::string(bytes.begin(), bytes.end());
  }
  for (int i = 0; i < 20; ++i) flags += (sorted ? i < 10 : i % 2 == 0) ? '\x88' : '\x89';
  return "\x80\x02](" + images + "e](" + flags + "e\x86.";
}

// Two same and two different pairs of a person each, in one fold of LFW's format: ten contiguous folds would have one class each.
TEST(ToolsEval, ListsWithoutFoldsAreJudgedOnFoldsOfBothClasses) {
  const Small s;
  std::string list = "10\n";
  for (int i = 0; i < 10; ++i) list += cat("P", i, " 1 2\n");
  for (int i = 0; i < 10; ++i) list += cat("P", i, " 1 P", (i + 1) % 10, " 2\n");
  s.write("dev.txt", list);
  for (int i = 0; i < 10; ++i)
    for (int k : {1, 2}) write_crop(s / cat("P", i, "/P", i, "_000", k, ".jpg"), 2 * i + k);
  s.failure({"dev=" + s / "dev.txt", "--data", s.path}, "dev.txt: no same pair in fold 6, 7, 8, 9, 10 of 10");
  EXPECT_EQ(s.eval({"dev=" + s / "dev.txt", "--data", s.path, "--folds-by-class"})[0]["folds"][7]["pairs"], 2);
  expect_wrong_usage({"eval", s.model, "dev=" + s / "dev.txt", "dev=" + s / "dev.txt", "--data", s.path}, "list 'dev': there twice");
  expect_wrong_usage({"eval", s.model, "a/b=" + s / "dev.txt", "--data", s.path}, "list 'a/b': expected a name without '/'");
}

TEST(ToolsEval, BinSetsAreFoundByNameAndSingleClassFoldsAreRefused) {
  const Small s;
  s.write("agedb_30.bin", bin_of(false));
  EXPECT_EQ(s.eval({"agedb", "--data", s.path})[0]["pairs"], 20);
  s.write("calfw.bin", bin_of(true));
  s.failure({"calfw", "--data", s.path}, "calfw.bin: no same pair in fold 6, 7, 8, 9, 10 of 10, expected both classes in every fold");
  const Json b = s.eval({"calfw", "--data", s.path, "--folds-by-class"});
  EXPECT_EQ(b[0]["folds"].size(), 10);
  EXPECT_EQ(b[0]["folds"][7]["pairs"], 2);
}

struct Ijb : Small {
  std::string set = *this / "set";
  Ijb() { EXPECT_EQ(vitrine({"render", "ijbc", "--out", set, "--subjects", "6", "--seed", "3"}).code, 0); }
};

TEST(ToolsEval, IjbFromFilesHasOneToOneAndOneToMany) {
  const Ijb s;
  const Json b = s.eval({"ijbc", "--data", s.set, "--bootstrap", "16"})[0];
  EXPECT_EQ(b["protocol"], "N1D1F1");
  EXPECT_EQ(b["images"], 6 * 8);
  EXPECT_EQ(b["templates"], 18);
  EXPECT_EQ(b["pairs"], 6 * 12);
  EXPECT_EQ(b["tpr"].size(), 6);
  EXPECT_TRUE(b["tpr"].contains("1e-4"));
  EXPECT_EQ(b["points"][5]["interval95"].size(), 2);
  EXPECT_EQ(b["closed"]["probes"], 12);
  EXPECT_EQ(b["open"].size(), 2);
  EXPECT_EQ(b["open"][0]["mated"], 6);
  EXPECT_NE(b["note"].get<std::string>().find("469375"), std::string::npos);
  EXPECT_EQ(s.eval({"ijbc", "--data", s.set, "--feature-norm", "unit", "--detector-score", "off", "--no-flip"})[0]["protocol"], "N0D0F0");
}

TEST(ToolsEval, IjbGalleriesThatLackSomebodyAreRefusedBeforeAnyWork) {
  const Ijb s;
  fs::remove(s.set + "/meta/ijbc_1N_gallery_G2.csv");
  s.failure({"ijbc", "--data", s.set}, "ijbc_1N_probe_mixed.csv: subject ");
  fs::copy_file(s.set + "/meta/ijbc_1N_probe_mixed.csv", s.set + "/meta/ijbc_1N_gallery_G2.csv");
  s.failure({"ijbc", "--data", s.set}, "12 of 12 probes have a mate in gallery 2, expected some with and some without one");
}

TEST(ToolsEval, IjbOfEmbeddingsEqualsThatOfTheModel) {
  const Ijb s;
  for (const char* file : {"/meta/ijbc_face_tid_mid.txt", "/meta/ijbc_name_5pts_score.txt"}) {  // not in the order of templates
    std::istringstream lines(read_file(s.set + file));
    std::string turned;
    for (std::string line; std::getline(lines, line);) turned = line + "\n" + turned;
    std::ofstream(s.set + file) << turned;
  }
  const Json model = s.eval({"ijbc", "--data", s.set, "--no-flip"})[0];
  // The same crops by way of align and embed, in the order of the list.
  std::string landmarks = read_file(s.set + "/meta/ijbc_name_5pts_score.txt"), rows;
  std::vector<std::string> images{"embed", s.model, "--out", s / "e.npy"};
  std::istringstream in(landmarks);
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::ostringstream row;
    std::string image;
    fields >> image;
    row << image << std::setprecision(17);
    for (int i = 0; i < 10; ++i) {  // landmarks are f32, as in the published scripts
      std::string number;
      fields >> number;
      row << ' ' << double{std::stof(number)};
    }
    rows += row.str() + "\n";
    images.push_back(s / ("crops/" + image));
  }
  const std::string list = s.write("landmarks.txt", rows);
  ASSERT_EQ(vitrine({"align", "--images", s.set + "/loose_crop", "--landmarks", list, "--out", s / "crops"}).code, 0);
  ASSERT_EQ(vitrine(images).code, 0);
  Json reused = s.eval({"ijbc", "--data", s.set, "--embeddings", s / "e.npy"})[0];
  EXPECT_EQ(reused["protocol"], "N1D1F0");
  EXPECT_EQ(reused, model);
  s.failure({"ijbc", "--data", s.set, "--embeddings", s.write("junk.npy", "junk")}, "junk.npy: ");
  io::write_npy(s / "short.npy", Tensor::zeros({3, 16}));
  s.failure({"ijbc", "--data", s.set, "--embeddings", s / "short.npy"}, "short.npy: 3 rows of 16, expected 48 of 16");
}

TEST(ToolsEval, IjbResumesFromFinishedShardsOfTheSameRunOnly) {
  const Ijb s;
  const std::string run = s / "run";
  const Json first = s.eval({"ijbc", "--data", s.set, "--out", run});
  ASSERT_TRUE(fs::exists(run + "/ijbc-shards/templates-0.safetensors"));
  // With the shard at hand no image is needed any more.
  fs::rename(s.set + "/loose_crop/5.png", s.set + "/loose_crop/5.gone");
  EXPECT_EQ(s.eval({"ijbc", "--data", s.set, "--out", run, "--resume"}), first);
  s.failure({"ijbc", "--data", s.set, "--out", run}, "5.png");
  const std::string record = read_file(run + "/run.json");
  s.failure({"ijbc", "--data", s.set, "--out", run, "--resume", "--no-flip"}, "of a run with config/flip true, expected false");
  s.failure({"ijbc", "--data", s.set, "--out", run, "--resume", "--exact"}, "of a run with config/exact false, expected true");
  s.failure({"ijbc", "--data", s.set, "--out", run, "--resume", "--skip-unreadable"}, "of a run with config/skip_unreadable false");
  s.failure({"ijbc", "--data", s.set, "--out", run, "--resume", "--detector-score", "off"}, "of a run with config/pooling");
  EXPECT_EQ(read_file(run + "/run.json"), record) << "a run that is refused takes nothing away";
}

TEST(ToolsEval, UnreadableImagesAreErrorsUnlessSkippingIsAskedFor) {
  const Ijb s;
  std::ofstream(s.set + "/loose_crop/7.png") << "no picture";
  fs::remove(s.set + "/loose_crop/9.png");
  s.failure({"ijbc", "--data", s.set}, ".png");
  EXPECT_EQ(s.eval({"ijbc", "--data", s.set, "--skip-unreadable"})[0]["skipped"], 2);
  fs::remove(s.set + "/meta/ijbc_name_5pts_score.txt");
  s.failure({"ijbc", "--data", s.set}, "meta/ijbc_name_5pts_score.txt: missing, expected the lists of ijbc in ");
}

}  // namespace
}  // namespace vitrine::tools
