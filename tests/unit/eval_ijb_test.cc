// IJB's lists, pooling and 1:1 rates against what the published scripts and scikit-learn answered (golden checks 15, 18), and damaged
// lists.
#include "eval/ijb.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "data/synthetic_ijb.h"
#include "engine/core/parallel.h"
#include "engine/core/rng.h"
#include "eval/roc.h"
#include "eval/templates.h"
#include "tests/unit/data_testing.h"

namespace vitrine::eval {
namespace {

using data::error_of;
using data::Scratch;
using Json = nlohmann::json;
using Matrix = std::vector<std::vector<float>>;

const Json& toy() {
  static const Json all = Json::parse(read_file(golden("ijb/ijb_pool_toy.json")));
  return all;
}

FaceList golden_faces() { return read_faces(golden("ijb/ijbc_face_tid_mid.txt"), golden("ijb/ijbc_name_5pts_score.txt")); }

Pooling pooling(const std::string& mode) { return {mode[1] == '1', mode[3] == '1', mode[5] == '1'}; }

Templates pool(const FaceList& faces, const Pooling& p, const Matrix& e, const Matrix& mirrored) {
  TemplateSums sums(faces, p, 0, static_cast<int>(faces.templates.size()), static_cast<int64_t>(e[0].size()));
  for (size_t place = 0; place < faces.order.size(); ++place)
    sums.add(static_cast<int64_t>(place), e[faces.order[place]], mirrored[faces.order[place]]);
  return sums.finish();
}

TEST(EvalIjb, PoolingOfTheToyInAllEightModes) {
  FaceList faces;
  Matrix e, mirrored;
  for (auto& row : toy()["rows"]) {
    faces.faces.push_back({.name = row[0], .template_id = row[1], .media_id = row[2], .score = row[5]});
    e.push_back(row[3]), mirrored.push_back(row[4]);
  }
  index_faces(faces);
  ASSERT_EQ(toy()["modes"].size(), 8);
  for (auto& [mode, expected] : toy()["modes"].items()) {
    EXPECT_EQ(faces.templates, expected["unique_templates"].get<std::vector<int>>());
    EXPECT_EQ(name(pooling(mode)), mode);
    Templates t = pool(faces, pooling(mode), e, mirrored);
    for (int i = 0; i < 6; ++i) EXPECT_NEAR(t.rows[i], expected["template_sum"][i / 2][i % 2].get<double>(), 1e-6) << mode;
    to_unit_length(t);
    for (int i = 0; i < 6; ++i) EXPECT_NEAR(t.rows[i], expected["template_norm"][i / 2][i % 2].get<double>(), 1e-6) << mode;
    const std::vector<TemplatePair> pairs = {{0, 1, 0}, {0, 2, 0}, {1, 2, 0}, {1, 1, 1}};
    const auto scores = template_scores(t, pairs);
    const char* names[] = {"3-7", "3-9", "7-9", "7-7"};
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(scores[i], expected["scores"][names[i]].get<double>(), 1e-6) << mode << names[i];
  }
}

TEST(EvalIjb, SyntheticSetHasTheRatesOfScikitLearn) {
  const Json golden_set = Json::parse(read_file(golden("ijb/ijb_synthetic.json")));
  const FaceList faces = golden_faces();
  const TemplatePairs pairs = read_template_pairs(golden("ijb/ijbc_template_pair_label.txt"), faces);
  ASSERT_EQ(faces.faces.size(), 400);
  ASSERT_EQ(faces.templates.size(), 60);
  ASSERT_EQ(pairs.all.size(), 1770);
  EXPECT_EQ(pairs.same, 60);
  EXPECT_EQ(faces.different_names, 0);
  for (auto& [mode, expected] : golden_set["modes"].items()) {
    Templates t = pool(faces, pooling(mode), golden_set["emb"], golden_set["flip"]);
    to_unit_length(t);
    auto scores = template_scores(t, pairs.all);
    double sum = 0;
    for (double s : scores) sum += s;
    EXPECT_NEAR(sum, expected["score_sum"].get<double>(), 1e-4) << mode;
    for (int i = 0; i < 5; ++i) EXPECT_NEAR(scores[i], expected["score_first5"][i].get<double>(), 1e-6) << mode;
    const auto points = tpr_at_fpr(sort_scores(std::move(scores), pairs.all), kIjbTargets);
    for (int i = 0; i < 6; ++i) {
      EXPECT_DOUBLE_EQ(points[i].tpr, expected["tpr"][i].get<double>()) << mode << i;
      EXPECT_DOUBLE_EQ(points[i].fpr, expected["fpr_used"][i].get<double>()) << mode << i;
    }
  }
}

// The counts that the published files lead to (golden check 26), without the files: what 1e-6 .. 1e-1 of the different pairs are.
TEST(EvalIjb, TargetsOfTheFullSetAreTheseCounts) {
  ScoreSet s{{-1e9}, std::vector<double>(15'638'932)};
  for (size_t i = 0; i < s.different.size(); ++i) s.different[i] = -static_cast<double>(i);
  const int64_t expected[] = {16, 156, 1564, 15639, 156389, 1563893};
  const auto points = tpr_at_fpr(s, kIjbTargets, RocRule::kEveryPoint);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(points[i].accepted_different, expected[i]);
}

TEST(EvalIjb, FacesMayComeInAnyOrderOfRows) {
  FaceList faces = golden_faces();
  for (size_t i = 1; i < faces.order.size(); ++i) {
    const Face &a = faces.faces[faces.order[i - 1]], &b = faces.faces[faces.order[i]];
    EXPECT_LE(std::pair(a.template_id, a.media_id), std::pair(b.template_id, b.media_id));
  }
  EXPECT_EQ(faces.starts.front(), 0);
  EXPECT_EQ(faces.starts.back(), 400);
}

// Sums of two shards are those of the whole: a restart changes nothing.
TEST(EvalIjb, ShardsGiveTheSameBitsAsTheWhole) {
  const Json golden_set = Json::parse(read_file(golden("ijb/ijb_synthetic.json")));
  const FaceList faces = golden_faces();
  const Matrix e = golden_set["emb"], mirrored = golden_set["flip"];
  const Templates whole = pool(faces, {}, e, mirrored);
  std::vector<double> rows;
  for (auto [first, last] : {std::pair(0, 23), std::pair(23, 60)}) {
    TemplateSums part(faces, {}, first, last, 16);
    for (int place = faces.starts[first]; place < faces.starts[last]; ++place)
      part.add(place, e[faces.order[place]], mirrored[faces.order[place]]);
    const Templates t = part.finish();
    rows.insert(rows.end(), t.rows.begin(), t.rows.end());
  }
  EXPECT_EQ(rows, whole.rows);
}

TEST(EvalIjb, ImagesLeftOutLeaveTheirMediumsMeanToTheOthers) {
  FaceList faces;
  for (int i = 0; i < 4; ++i) faces.faces.push_back({.name = cat(i), .template_id = 1 + i / 3, .media_id = 0, .score = 1});
  index_faces(faces);
  TemplateSums sums(faces, {true, true, false}, 0, 2, 1);
  const float values[] = {1, 100, 3};
  for (int i : {0, 2}) sums.add(i, std::span(values + i, 1), {});
  EXPECT_EQ(sums.finish().rows, (std::vector<double>{2, 0}));  // the second template has nothing left
}

TEST(EvalIjb, ADetectorScoreThatLeavesTheNumbersIsAnError) {
  FaceList faces;
  faces.faces = {{.name = "a.jpg", .template_id = 1, .media_id = 0, .score = 3e38f}};
  index_faces(faces);
  TemplateSums sums(faces, {.keep_norm = true, .detector = true, .flip = false}, 0, 1, 2);
  const float values[] = {1, 30};
  EXPECT_EQ(error_of([&] { sums.add(0, values, {}); }),
            "a.jpg: a value of its embedding times the detector's score 3e+38 is not finite, expected finite numbers");
}

TEST(EvalIjb, ATemplateWithoutFacesStaysZero) {
  Templates t{.dim = 2, .rows = {0, 0, 3, 4}};
  to_unit_length(t);
  EXPECT_EQ(t.rows, (std::vector<double>{0, 0, 0.6, 0.8}));
}

TEST(EvalIjb, ScoresDoNotDependOnThreads) {
  Templates t{.dim = 37, .rows = {}};
  Philox rng(3);
  for (int i = 0; i < 200 * 37; ++i) t.rows.push_back(rng.normal());
  to_unit_length(t);
  std::vector<TemplatePair> pairs;
  for (int i = 0; i < 30'000; ++i)
    pairs.push_back({static_cast<uint32_t>(rng.below(200)), static_cast<uint32_t>(rng.below(200)), i % 7 == 0});
  const int before = threads();
  set_threads(1);
  const auto one = template_scores(t, pairs);
  set_threads(4);
  const auto four = template_scores(t, pairs);
  set_threads(before);
  EXPECT_EQ(one, four);
  for (size_t i = 0; i < pairs.size(); i += 997) {
    double sum = 0;
    for (int k = 0; k < 37; ++k) sum += t.rows[pairs[i].a * 37 + k] * t.rows[pairs[i].b * 37 + k];
    EXPECT_NEAR(one[i], sum, 1e-14);
  }
}

struct Lists : Scratch {
  std::string ids(const std::string& text) const { return write("t.txt", text); }
  std::string points(const std::string& text) const { return write("p.txt", text); }
};
constexpr const char* kPoints = " 1 2 3 4 5 6 7 8 9 10 0.5\n";

TEST(EvalIjb, DamagedFaceListsAreOneClearLine) {
  const Lists l;
  const auto faces = [&](const std::string& ids, const std::string& points) {
    return error_of([&] { read_faces(l.ids(ids), l.points(points)); }).substr(l.path.string().size() + 1);
  };
  const std::string good = std::string("1.jpg") + kPoints;
  EXPECT_EQ(faces("", good), "t.txt: empty, expected lines 'image template media'");
  EXPECT_EQ(faces("1.jpg 1\n", good), "t.txt:1: 2 fields, expected 'image template media'");
  EXPECT_EQ(faces("\n1.jpg 1 2 3\n", good), "t.txt:2: more than 3 fields, expected at most 3");
  EXPECT_EQ(faces("../1.jpg 1 2\n", good), "t.txt:1: '../1.jpg', expected a relative path that stays inside its directory");
  EXPECT_EQ(faces("/1.jpg 1 2\n", good), "t.txt:1: '/1.jpg', expected a relative path that stays inside its directory");
  EXPECT_EQ(faces("1.jpg 10000000 2\n", good), "t.txt:1: '10000000', expected a number from 0 to 9999999");
  EXPECT_EQ(faces("1.jpg 1 x\n", good), "t.txt:1: 'x', expected a media number");
  EXPECT_EQ(faces("1.jpg 1 2\n", "1.jpg 1 2\n"), "p.txt:1: 3 fields, expected 'image x1 y1 ... x5 y5 score'");
  EXPECT_EQ(faces("1.jpg 1 2\n", good + good).substr(0, 33), "p.txt:2: row 2, expected the end:");
  EXPECT_EQ(faces("1.jpg 1 2\n2.jpg 1 2\n", good).substr(0, 42), "p.txt: ends after 1 rows, expected 2 as in");
  EXPECT_EQ(faces("1.jpg 1 2\n", "1.jpg 1 2 3 4 5 6 7 8 9 inf 0.5\n"), "p.txt:1: 'inf', expected a finite number");
  EXPECT_EQ(faces("1.jpg 1 2\n", "1.jpg 1 2 3 4 5 6 7 8 9 1e99 0.5\n"), "p.txt:1: '1e99', expected a number");
  EXPECT_EQ(faces("1.jpg 1 2\n", "\xff.jpg" + std::string(kPoints)), "p.txt:1: byte 255 at column 1 is not UTF-8, expected UTF-8 text");
  EXPECT_EQ(faces("1.jpg " + std::string(1'000'000'000 / 1000, '9') + " 2\n", good),
            "t.txt:1: a field of 1000000 bytes, expected at most 255");
  EXPECT_EQ(error_of([&] { read_faces(l / "none.txt", l / "none.txt"); }), l / "none.txt: cannot be opened, expected a readable file");
}

TEST(EvalIjb, DamagedPairListsAreOneClearLine) {
  const Lists l;
  const FaceList faces = read_faces(l.ids("1.jpg 1 2\r\n2.jpg 9 2\r\n"), l.points(cat("1.jpg", kPoints, "3.jpg", kPoints)));
  EXPECT_EQ(faces.different_names, 1);
  const auto pairs = [&](const std::string& text) {
    return error_of([&] { read_template_pairs(l.write("pairs.txt", text), faces); }).substr(l.path.string().size() + 1);
  };
  EXPECT_EQ(pairs("1 9 1\n"), "pairs.txt: 1 same and 0 different pairs, expected both");
  EXPECT_EQ(pairs("1 9 1\n1 9\n"), "pairs.txt:2: 2 fields, expected 'template template label'");
  EXPECT_EQ(pairs("1 9 1\n1 9 1 1\n"), "pairs.txt:2: more than 3 fields, expected at most 3");
  EXPECT_EQ(pairs("1 9 2\n"), "pairs.txt:1: '2', expected a number from 0 to 1");
  EXPECT_EQ(pairs("\n1 9 1\n\n7 9 1\n"), "pairs.txt:4: template 7 has no image, expected one of the 2 templates");
  EXPECT_EQ(pairs("1 9 1\n1 -9 0\n"), "pairs.txt:2: '-9', expected a number from 0 to 9999999");
  EXPECT_EQ(pairs("1 9 1\n1 123456789 0\n"), "pairs.txt:2: '123456789', expected a number from 0 to 9999999");
  EXPECT_EQ(pairs("1 9 1\n1 000000009\n"), "pairs.txt:2: 2 fields, expected 'template template label'") << "long is not two numbers";
  EXPECT_EQ(pairs(""), "pairs.txt: 0 same and 0 different pairs, expected both");
  EXPECT_EQ(pairs("1 9 1\n1 9 0 " + std::string(70'000, '1')), "pairs.txt:2: more than 3 fields, expected at most 3");
  // Tabs, CR LF, blank lines and a missing last line end are no damage.
  const TemplatePairs good = read_template_pairs(l.write("pairs.txt", "1\t1  1\r\n\r\n\n 0000000009 1 0"), faces);
  ASSERT_EQ(good.all.size(), 2);
  EXPECT_TRUE(good.all[0].a == 0 && good.all[0].b == 0 && good.all[0].same && good.all[1].a == 1 && !good.all[1].same);
  EXPECT_EQ(good.repeated, 0);
}

TEST(EvalIjb, RepeatedComparisonsAreCountedAndContradictionsRefused) {
  const Lists l;
  std::string ids, points;
  for (int i = 0; i < 5; ++i) ids += cat(i, ".jpg ", 10 * i, " 0\n"), points += cat(i, ".jpg", kPoints);
  const FaceList faces = read_faces(l.ids(ids), l.points(points));
  const TemplatePairs p =
      read_template_pairs(l.write("pairs.txt", "0 10 0\n20 20 1\n30 10 0\n10 30 0\n40 0 0\n20 20 1\n30 10 0\n30 40 1\n"), faces);
  EXPECT_EQ(p.repeated, 3);
  EXPECT_EQ(std::pair(p.repeated_ids[0], p.repeated_ids[1]), std::pair(10, 30));
  EXPECT_EQ(p.all.size(), 8);
  EXPECT_EQ(error_of([&] { read_template_pairs(l.write("pairs.txt", "0 10 0\n30 10 0\n20 20 1\n10 30 1\n"), faces); }),
            l / "pairs.txt: templates 10 and 30 are compared as the same person and as different people, expected one label");
}

// More than one block of the reader, blank lines at every place where blocks are split.
TEST(EvalIjb, LongPairListsAreReadWhole) {
  const Lists l;
  std::string ids, points;
  for (int i = 0; i < 3000; ++i) ids += cat(i, ".jpg ", 7 * i, " 0\n"), points += cat(i, ".jpg", kPoints);
  const FaceList faces = read_faces(l.ids(ids), l.points(points));
  std::string text;
  constexpr int kPairs = 1'500'000;
  for (int i = 0; i < kPairs; ++i)
    text += cat(7 * (i % 2999), i % 5 ? " " : "\t", 7 * (i % 3000), i % 3 == 0 ? " 1\n" : " 0\n", i % 11 ? "" : "\n");
  ASSERT_GT(text.size(), size_t{16} << 20);
  const TemplatePairs pairs = read_template_pairs(l.write("pairs.txt", text), faces);
  ASSERT_EQ(pairs.all.size(), kPairs);
  EXPECT_EQ(pairs.same, kPairs / 3);
  for (int i = 0; i < kPairs; ++i) {
    const TemplatePair p = pairs.all[i];
    ASSERT_TRUE(static_cast<int>(p.a) == i % 2999 && static_cast<int>(p.b) == i % 3000 && p.same == (i % 3 == 0)) << i;
  }
  text.insert(text.rfind("\n", text.size() - 100) + 1, "x\n");
  const std::string error = error_of([&] { read_template_pairs(l.write("pairs.txt", text), faces); });
  EXPECT_NE(error.find(": 1 fields, expected"), error.npos) << error;
}

TEST(EvalIjb, EnrolmentsTakeATemplatesFirstRow) {
  const FaceList faces = golden_faces();
  const Enrolment g = read_enrolment(golden("ijb/ijbc_1N_gallery_G1.csv"), faces);
  EXPECT_EQ(g.templates.size(), 10);
  EXPECT_EQ(g.subjects[2], 502);
  EXPECT_EQ(faces.templates[g.templates[2]], 3);
  const Scratch s;
  const auto error = [&](const std::string& text) {
    return error_of([&] { read_enrolment(s.write("g.csv", text), faces); }).substr(s.path.string().size() + 1);
  };
  EXPECT_EQ(error("1,500\n"), "g.csv:1: '1,500', expected a header with TEMPLATE_ID");
  EXPECT_EQ(error("TEMPLATE_ID,SUBJECT_ID\n"), "g.csv: no template, expected a header and rows");
  EXPECT_EQ(error("TEMPLATE_ID,SUBJECT_ID\n1\n"), "g.csv:2: 1 columns, expected 2");
  EXPECT_EQ(error("SUBJECT_ID,\"TEMPLATE_ID\"\n1,99\n"), "g.csv:2: template 99 has no image, expected one of the 60 templates");
}

// The generated set, written in the official files and read back, is the set in memory.
TEST(EvalIjb, SyntheticFilesAreReadBack) {
  const Scratch s;
  const data::SyntheticIjb set = data::synthetic_ijb(5, 4);
  data::write_ijb(set, s.path.string());
  const FaceList faces = read_faces(s / "meta/ijbc_face_tid_mid.txt", s / "meta/ijbc_name_5pts_score.txt");
  ASSERT_EQ(faces.faces.size(), set.faces.size());
  for (size_t i = 0; i < set.faces.size(); ++i) {
    EXPECT_EQ(faces.faces[i].name, set.faces[i].name);
    EXPECT_EQ(faces.faces[i].template_id, set.faces[i].template_id);
    EXPECT_EQ(faces.faces[i].media_id, set.faces[i].medium);
    EXPECT_NEAR(faces.faces[i].score, set.faces[i].score, 1e-6);
    EXPECT_NEAR(faces.faces[i].points[7], set.faces[i].points[3][1], 1e-3);
    EXPECT_TRUE(std::filesystem::exists(s / ("loose_crop/" + faces.faces[i].name)));
  }
  const TemplatePairs pairs = read_template_pairs(s / "meta/ijbc_template_pair_label.txt", faces);
  EXPECT_EQ(pairs.all.size(), 4 * 8);
  EXPECT_EQ(pairs.same, 8);
  EXPECT_EQ(read_enrolment(s / "meta/ijbc_1N_probe_mixed.csv", faces).templates.size(), 8);
  EXPECT_EQ(read_enrolment(s / "meta/ijbc_1N_gallery_G2.csv", faces).subjects, (std::vector<int>{1, 3}));
}

}  // namespace
}  // namespace vitrine::eval
