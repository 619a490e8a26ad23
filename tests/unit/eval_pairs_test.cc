// Pair lists: the published formats (golden check 14), full-size synthetic lists, and damaged ones.
#include "eval/pairs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "engine/core/error.h"
#include "tests/golden.h"

namespace vitrine::eval {
namespace {

std::string error_of(const std::string& text, PairFormat format = PairFormat::kAuto) {
  try {
    parse_pairs(text, "list.txt", format);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

void expect_error(const std::string& text, const std::string& expected, PairFormat format = PairFormat::kAuto) {
  std::string error = error_of(text, format);
  EXPECT_NE(error.find(expected), error.npos) << "got:      " << error << "\nexpected: " << expected;
  EXPECT_EQ(error.find('\n'), error.npos) << error;
  EXPECT_LT(error.size(), 250u) << error;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return text.replace(at, from.size(), to);
}

void expect_golden(const std::string& list_file, const std::string& expected_file) {
  PairList list = read_pairs(golden("eval/" + list_file));
  auto expected = nlohmann::json::parse(read_file(golden("eval/" + expected_file)));
  EXPECT_EQ(list.folds, 2);
  ASSERT_EQ(list.pairs.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const Pair& pair = list.pairs[i];
    EXPECT_EQ(list.images[pair.a], expected[i][0].get<std::string>()) << i;
    EXPECT_EQ(list.images[pair.b], expected[i][1].get<std::string>()) << i;
    EXPECT_EQ(pair.same, expected[i][2]) << i;
    EXPECT_EQ(pair.fold, expected[i][3]) << i;
  }
  std::set<std::string> distinct(list.images.begin(), list.images.end());
  EXPECT_EQ(distinct.size(), list.images.size());
}

// Full-size lists of the published formats, people numbered through.
std::string lfw_list(int folds, int per_class, const std::string& header, const std::string& end = "\n") {
  std::string text = header + end;
  for (int f = 0; f < folds; ++f) {
    for (int i = 0; i < per_class; ++i) text += cat("P", f, "_", i, "\t1\t", 2 + i % 3, end);
    for (int i = 0; i < per_class; ++i) text += cat("P", f, "_", i, "\t1\tQ", f, "_", i, "\t7", end);
  }
  return text;
}

std::string sllfw_list(int folds, int per_class) {
  std::string text;
  for (int f = 0; f < folds; ++f) {
    for (int i = 0; i < per_class; ++i) text += cat("P", f, "_", i, "/1.jpg\nP", f, "_", i, "/2.jpg\n");
    for (int i = 0; i < per_class; ++i) text += cat("P", f, "_", i, "/1.jpg\nQ", f, "_", i, "/2.jpg\n");
  }
  return text;
}

std::string labelled_list(int folds, int per_class, bool calfw) {
  std::string text;
  for (int i = 0; i < folds * per_class; ++i) {
    int token = calfw ? 1 + i / per_class : 1;
    text += cat("P", i, "_1.jpg ", token, "\r\nP", i, "_2.jpg ", token, "\r\n");
  }
  for (int i = 0; i < folds * per_class; ++i) text += cat("P", i, "_1.jpg 0\r\nQ", i, "_2.jpg 0\r\n");
  return text;
}

void expect_full_size(const PairList& list, size_t images) {
  ASSERT_EQ(list.pairs.size(), 6000u);
  EXPECT_EQ(list.folds, 10);
  EXPECT_EQ(list.images.size(), images);
  int count[10][2] = {};
  for (const Pair& pair : list.pairs) ++count[pair.fold][pair.same];
  for (auto& fold : count) EXPECT_TRUE(fold[0] == 300 && fold[1] == 300);
}

TEST(EvalPairs, GoldenLists) {
  expect_golden("pairs.txt", "pairs_expected.json");
  expect_golden("pair_SLLFW_mini.txt", "pair_SLLFW_expected.json");
  expect_golden("pairs_CALFW_mini.txt", "pairs_CALFW_expected.json");
}

TEST(EvalPairs, FullSizeLists) {
  expect_full_size(parse_pairs(lfw_list(10, 300, "10\t300"), "pairs.txt"), 9000);
  expect_full_size(parse_pairs(sllfw_list(10, 300), "pair_SLLFW.txt"), 9000);
  expect_full_size(parse_pairs(labelled_list(10, 300, true), "pairs_CALFW.txt"), 9000);
  expect_full_size(parse_pairs(labelled_list(10, 300, false), "pairs_CPLFW.txt"), 9000);
  expect_full_size(parse_pairs("name same_person\r\n" + labelled_list(10, 300, false), "pairs_CPLFW.txt"), 9000);
}

TEST(EvalPairs, LfwSpellings) {
  const PairList plain = parse_pairs(lfw_list(10, 300, "10\t300"), "a/pairs.txt");
  EXPECT_EQ(plain.name, "pairs");
  std::string spaces = lfw_list(10, 300, "10\t300");
  std::replace(spaces.begin(), spaces.end(), '\t', ' ');
  const std::string titles = "name\tnr\tname2\tnr2\n";
  for (const std::string& text : {spaces, lfw_list(10, 300, "10\t300", "\r\n"), "\xEF\xBB\xBF" + lfw_list(10, 300, "10 300") + "\n \r\n",
                                  lfw_list(10, 300, titles + "10\t300"), lfw_list(10, 300, "name nr name2 nr2"), lfw_list(10, 300, "")}) {
    PairList list = parse_pairs(text, "pairs.txt");
    EXPECT_EQ(list.images, plain.images);
    EXPECT_EQ(list.folds, 10);
    ASSERT_EQ(list.pairs.size(), plain.pairs.size());
    for (size_t i = 0; i < list.pairs.size(); ++i) EXPECT_EQ(list.pairs[i].fold, plain.pairs[i].fold);
  }
}

TEST(EvalPairs, ViewOneHasNoFolds) {
  PairList list = parse_pairs(lfw_list(1, 1100, "1100"), "pairsDevTrain.txt");
  EXPECT_EQ(list.folds, 0);
  EXPECT_EQ(list.pairs.size(), 2200u);
  EXPECT_EQ(list.pairs.back().fold, 0);
}

TEST(EvalPairs, CplfwFoldsFollowEachClassInAnyOrder) {
  std::string interleaved;
  for (int i = 0; i < 20; ++i) interleaved += cat("A", i, "_1.jpg 1\nA", i, "_2.jpg 1\nA", i, "_1.jpg 0\nB", i, "_2.jpg 0\n");
  PairList list = parse_pairs(interleaved, "x.txt", PairFormat::kCplfw);
  for (size_t i = 0; i < list.pairs.size(); ++i) EXPECT_EQ(list.pairs[i].fold, static_cast<int>(i / 4));
}

TEST(EvalPairs, DamagedLfw) {
  const std::string good = lfw_list(2, 3, "2\t3");
  EXPECT_EQ(error_of(good), "no error");
  expect_error("", "list.txt: empty, expected a list of pairs");
  expect_error("2\t3\n", "list.txt: ends after 0 pairs, expected 12 (2 x 3 same and 3 different)");
  expect_error(good.substr(0, good.rfind("P1_2")), "list.txt: ends after 11 pairs, expected 12");
  expect_error(good + "X\t1\t2\n", "list.txt:14: pair 13, expected the end after 12 pairs");
  expect_error(replaced(good, "2\t3", "3\t2"), "list.txt:4: a same pair, expected a different one");
  expect_error(replaced(good, "2\t3", "2\t4"), "list.txt:5: a different pair, expected a same one");
  expect_error(replaced(good, "P0_1\t1\t3", "P0_1\t1"), "list.txt:3: 2 fields, expected 'name i j'");
  expect_error(replaced(good, "P0_1\t1\t3", "P0_1\t1\t3\t4\t5"), "list.txt:3: more than 4 fields");
  expect_error(replaced(good, "P0_1\t1\t3", "P0_1\t1\tx"), "list.txt:3: 'x', expected a number from 1 to 999999");
  expect_error(replaced(good, "P0_1\t1\t3", "P0_1\t1\t-3"), "list.txt:3: '-3', expected a number");
  expect_error(replaced(good, "P0_1\t1\t3", "P0_1\t0\t3"), "list.txt:3: '0', expected a number");
  expect_error(replaced(good, "P0_1\t1\t3", "P0_1\t1\t1"), "list.txt:3: 'P0_1/P0_1_0001.jpg' paired with itself");
  expect_error(replaced(good, "P0_1\t1\t3", "P0_0\t2\t1"), "list.txt:3: 'P0_0/P0_0_0002.jpg' and 'P0_0/P0_0_0001.jpg' again");
  expect_error(replaced(good, "P0_1\t1\tQ0_1", "P0_1\t1\tP0_1"), "list.txt:6: 'P0_1' twice in a different pair");
  expect_error(replaced(good, "P0_1", ".."), "list.txt:3: '../.._0001.jpg', expected a relative path");
  expect_error(replaced(good, "P0_1", "a/b"), "list.txt:3: 'a/b', expected a name without '/'");
  expect_error("0\t3\n", "list.txt:1: '0', expected a number from 2 to 1000");
  expect_error("1000000000\t3\n", "list.txt:1: '1000000000', expected a number");
  expect_error("2\t" + std::string(200, '9') + "\n", "(200 bytes), expected a number from 1 to 100000");
  expect_error(std::string(5'000'000, '7'), "list.txt:1: a field of 5000000 bytes, expected at most 255");
  std::string many;
  for (int i = 0; i <= 1'000'000; ++i) many += "x\n";
  expect_error(many, "list.txt:1000001: more than 1000000 lines, expected a list of pairs");
  expect_error("hello\n", "list.txt:1: 'hello' begins no known list");
}

TEST(EvalPairs, DamagedSllfw) {
  const std::string good = sllfw_list(2, 3);
  EXPECT_EQ(error_of(good), "no error");
  expect_error(good.substr(0, good.rfind("Q1_2")), "list.txt:23: the list ends inside a pair");
  expect_error(good.substr(0, good.rfind("P1_2")), "list.txt: ends after 11 pairs, expected 12");
  expect_error(replaced(good, "Q0_1/2.jpg", "P0_1/3.jpg"), "list.txt:10: a same pair, expected a different one");
  expect_error(replaced(good, "P0_1/2.jpg", "P0_1/2.jpg 1"), "list.txt:4: 2 fields, expected one path");
  expect_error(replaced(good, "P0_1/2.jpg", "2.jpg"), "list.txt:4: '2.jpg', expected name/file");
  expect_error(good.substr(0, good.find("P0_0/1.jpg\nQ0_0")), "list.txt: ends after 3 pairs, expected 6 (1 x 3 same and 3 different)");
  expect_error(good.substr(good.find("P0_0/1.jpg\nQ0_0")), "list.txt: begins with a different pair or has none");
  for (std::string path : {"../P/2.jpg", "/etc/2.jpg", "a/../2.jpg", "a//2.jpg", "a/./2.jpg", "a\\b/2.jpg", "P0_1/"}) {
    expect_error(replaced(good, "P0_1/2.jpg", path), "list.txt:4: '" + path + "', expected a relative path that stays inside");
  }
}

TEST(EvalPairs, DamagedLabelledLists) {
  const std::string calfw = labelled_list(2, 3, true), cplfw = labelled_list(10, 3, false);
  expect_error(calfw.substr(0, calfw.rfind("P5_1")), "list.txt: fold 2 of 2 has 3 same and 2 different pairs, expected as many of each");
  expect_error(calfw.substr(0, calfw.rfind("Q5_2")), "list.txt:23: the list ends inside a pair");
  expect_error(replaced(calfw, "P1_2.jpg 1", "P1_2.jpg 2"), "list.txt:4: label '2', expected '1' as in the pair's first line");
  expect_error(replaced(calfw, "P1_2.jpg 1", "P1_2.jpg"), "list.txt:4: 1 fields, expected 'file label'");
  expect_error(replaced(calfw, "P1_1.jpg 1", "P1_1.jpg 1001"), "list.txt:3: '1001', expected a number from 0 to 1000");
  expect_error(cplfw.substr(0, cplfw.find("P0_1.jpg 0")), "list.txt: fold 1 of 10 has 3 same and 0 different pairs");
  expect_error(calfw, "list.txt:7: '2', expected a number from 0 to 1", PairFormat::kCplfw);
  EXPECT_EQ(parse_pairs(labelled_list(1, 3, false), "x.txt", PairFormat::kCalfw).folds, 0);
}

TEST(EvalPairs, DamagedText) {
  const std::string good = lfw_list(2, 3, "2\t3");
  for (std::string bytes : {std::string("\0", 1), std::string("\x1b"), std::string("\x7f"), std::string("\x0c")}) {
    expect_error(replaced(good, "P0_1", "P" + bytes), "list.txt:3: control byte ");
  }
  // A stray continuation, a cut character, over-long '/', a surrogate, beyond U+10FFFF.
  for (std::string bytes : {"\x80", "\xC3", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF"}) {
    expect_error(replaced(good, "P0_1", "P" + bytes), "list.txt:3: byte ");
  }
  EXPECT_EQ(error_of(replaced(good, "P0_1\t1\t3", "Zo\xC3\xAB\t1\t3")), "no error");
  EXPECT_THROW(read_pairs("tests/golden/eval/absent.txt"), Error);
  EXPECT_THROW(read_pairs("tests/golden/eval"), Error);
  EXPECT_THROW(read_pairs("/dev/zero"), Error);  // endless: stops at the size limit
}

// Random damage never does worse than a one-line error, and what is still accepted is a sound list.
TEST(EvalPairs, RandomDamage) {
  std::mt19937 random(7);
  const std::string lists[] = {lfw_list(2, 3, "2\t3"), sllfw_list(2, 3), labelled_list(2, 3, true), labelled_list(10, 1, false)};
  for (int round = 0; round < 4000; ++round) {
    std::string text = lists[round % 4];
    for (unsigned n = random() % 3 + 1; n > 0 && !text.empty(); --n) {
      size_t at = random() % text.size();
      if (random() % 3 == 0)
        text.erase(at, random() % 20);
      else if (random() % 2)
        text.insert(at, text.substr(random() % text.size(), random() % 30));
      else
        text[at] = static_cast<char>(random());
    }
    try {
      PairList list = parse_pairs(text, "x.txt");
      for (const Pair& pair : list.pairs) {
        ASSERT_LT(static_cast<size_t>(std::max(pair.a, pair.b)), list.images.size());
        ASSERT_TRUE(pair.fold >= 0 && pair.fold < std::max(list.folds, 1));
      }
    } catch (const Error& e) {
      ASSERT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    }
  }
}

TEST(EvalPairs, ContiguousFoldsAreKFold) {  // golden check 13
  std::vector<int> size(10);
  std::vector<int> fold = contiguous_folds(6003, 10);
  for (int f : fold) ++size[f];
  EXPECT_EQ(size, (std::vector<int>{601, 601, 601, 600, 600, 600, 600, 600, 600, 600}));
  EXPECT_TRUE(std::is_sorted(fold.begin(), fold.end()));
  EXPECT_EQ(contiguous_folds(3, 10), (std::vector<int>{0, 1, 2}));
}

TEST(EvalPairs, FoldsOfOneClassAreRefusedWhicheverItIs) {
  for (const bool same : {true, false}) {
    const PairList list = consecutive_pairs("x", std::vector<bool>(20, same));
    try {
      check_classes(list, "x.bin");
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find(same ? "x.bin: no different pair in fold 1, 2" : "x.bin: no same pair in fold 1, 2"), 0u)
          << e.what();
    }
  }
}

TEST(EvalPairs, ConsecutivePairsOfABinFile) {
  PairList list = consecutive_pairs("lfw", {true, false});
  EXPECT_EQ(list.images, (std::vector<std::string>{"0", "1", "2", "3"}));
  EXPECT_EQ(list.folds, 0);
  EXPECT_TRUE(list.pairs[0].same && !list.pairs[1].same && list.pairs[1].a == 2 && list.pairs[1].b == 3);
}

}  // namespace
}  // namespace vitrine::eval
