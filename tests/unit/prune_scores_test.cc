// Importance, selection and regularisers: numbers that Torch-Pruning 1.6.1 gives for a net that can be computed by hand, and what it gets
// wrong, right.
#include "prune/importance.h"

#include <cmath>
#include <limits>

#include "prune/sparsity.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/prune_testing.h"

namespace vitrine::prune {
namespace {

using data::error_of;
using Numbers = std::vector<double>;

void set(Model& m, const std::string& name, const std::vector<float>& values) {
  Tensor& t = m.tensors.at(name);
  t = Tensor::from(t.shape(), values);
}

// conv 1 -> 3, BatchNorm that only scales, conv 3 -> 2, all 1x1.
Model toy() {
  Model m = make({1, 1, 1, 1}, [](Net& n, const Tensor& x) {
    const Shape c{3};
    Tensor y = n.conv("conv1", x, 3);
    y = batch_norm(y, n.param("bn.weight", c), n.param("bn.bias", c), n.param("bn.mean", c, 0, 0, Value::Kind::buffer),
                   n.param("bn.var", c, 1, 1, Value::Kind::buffer), 0);
    return n.conv("conv2", y, 2);
  });
  set(m, "conv1.weight", {1, -2, 3});
  set(m, "bn.weight", {1, 2, 0.5});
  set(m, "bn.bias", {0, 0, 0});
  set(m, "conv2.weight", {1, 0, 2, -1, 1, 1});
  return m;
}

TensorMap toy_gradients(const Model& m) {
  std::vector<std::string> names;
  Tensors wrt;
  TensorMap tensors = m.tensors, gradients;
  for (Id id : m.graph.named(Value::Kind::parameter)) {
    names.push_back(m.graph.values[id].name);
    wrt.push_back(tensors[names.back()].set_requires_grad());
  }
  Tensors g = grad(sum(run(m.graph, tensors, {Tensor::full({1, 1, 1, 1}, 1)})[0]), wrt);
  for (size_t i = 0; i < names.size(); ++i) gradients[names[i]] = g[i];
  return gradients;
}

void expect_scores(const Importance& o, const Numbers& want, const char* what, const Gradients& gradients = {}, const Model& m = toy()) {
  const Structure s = find_groups(m.graph);
  const auto all = scores(m, s, o, gradients);
  const Group* group = nullptr;
  for (auto& g : s.groups)
    if (g.fixed.empty()) group = &g;
  ASSERT_NE(group, nullptr);
  ASSERT_EQ(group->channels.size(), want.size()) << what;
  for (size_t k = 0; k < want.size(); ++k) EXPECT_NEAR(all[group->channels[k]], want[k], 1e-5) << what << ", channel " << k;
}

TEST(PruneScores, ReductionsOfTheTruthTable) {
  auto l2 = [](Reduction r) { return Importance{.reduction = r, .normaliser = Normaliser::none}; };
  expect_scores(l2(Reduction::sum), {4, 9, 14.25}, "sum");
  expect_scores(l2(Reduction::mean), {1.3333333, 3, 4.75}, "mean");
  expect_scores(l2(Reduction::max), {2, 4, 9}, "max");
  expect_scores(l2(Reduction::product), {2, 16, 11.25}, "product");
  expect_scores(l2(Reduction::first), {1, 4, 9}, "first");
  expect_scores(l2(Reduction::last), {2, 1, 5}, "last");
}

TEST(PruneScores, NormalisersOfTheTruthTable) {
  auto l2 = [](Normaliser n) { return Importance{.normaliser = n}; };
  expect_scores(l2(Normaliser::mean), {.440367, .990826, 1.568807}, "mean");
  expect_scores(l2(Normaliser::sum), {.146789, .330275, .522936}, "sum");
  expect_scores(l2(Normaliser::max), {.280702, .631579, 1}, "max");
  expect_scores(l2(Normaliser::range), {0, .487805, 1}, "range");
  expect_scores(l2(Normaliser::gaussian), {-.991772, -.016259, 1.008030}, "gaussian");
  expect_scores(l2(Normaliser::sentinel), {.444444, 1, 1.583333}, "sentinel");
  expect_scores(l2(Normaliser::lamp), {.146789, .387097, 1}, "lamp");
  Model zeros = toy();
  for (const char* name : {"conv1.weight", "bn.weight", "conv2.weight"})
    zeros.tensors.at(name) = Tensor::zeros(zeros.tensors.at(name).shape());
  for (Normaliser n : {Normaliser::mean, Normaliser::sum, Normaliser::max, Normaliser::sentinel})
    expect_scores(l2(n), {0, 0, 0}, "nothing to divide by", {}, zeros);
  Model four = make({1, 1, 1, 1}, [](Net& n, const Tensor& x) { return n.conv("b", n.conv("a", x, 4), 1); });
  set(four, "a.weight", {1, 2, 3, 4});
  set(four, "b.weight", {0, 0, 0, 0});
  expect_scores(l2(Normaliser::sentinel), {1 / 9.0, 4 / 9.0, 1, 16 / 9.0}, "the third of four is the median", {}, four);
}

TEST(PruneScores, CriteriaOfTheTruthTable) {
  const auto none = Normaliser::none;
  expect_scores({.criterion = Criterion::l1, .normaliser = none}, {1.3333333, 1.6666667, 2.1666667}, "l1");
  expect_scores({.criterion = Criterion::bn, .normaliser = none}, {1, 2, .5}, "bn");
  expect_scores({.criterion = Criterion::bn}, {.857143, 1.714286, .428571}, "bn, over the mean");
  expect_scores({.criterion = Criterion::lamp}, {.146789, .387097, 1}, "lamp");
  expect_scores({.criterion = Criterion::fpgm_published, .normaliser = none}, {7.5, 6.5, 10}, "fpgm of squares");
  const double root5 = std::sqrt(5.0);
  // Of the weights themselves: rows |1+2| + |1-3| = 5, 8, 7; columns (1,-1), (0,1), (2,1).
  expect_scores({.criterion = Criterion::fpgm, .normaliser = none}, {(5 + root5 + root5) / 2, (8 + root5 + 2) / 2, (7 + root5 + 2) / 2},
                "fpgm");
  const Model m = toy();
  const auto gradients = toy_gradients(m);
  expect_scores({.criterion = Criterion::taylor, .normaliser = none, .published = true}, {1, 4, 4.5}, "taylor without BatchNorm",
                gradients);
  expect_scores({.criterion = Criterion::taylor, .normaliser = none}, {.6666667, 4, 4.5}, "taylor", gradients);
  expect_scores({.criterion = Criterion::taylor_abs, .normaliser = none, .published = true}, {0, 4, 4.5}, "taylor-abs", gradients);
  auto squares = gradients;
  for (auto& [name, g] : squares) g = square(g);
  for (bool published : {false, true})
    expect_scores({.criterion = Criterion::hessian, .normaliser = none, .published = published}, {.6666667, 16, 17.25},
                  "hessian of one sample, BatchNorm in either", squares);
}

// Behind a flatten a channel has a column for every pixel: their sum is one member; the maximum is that of all of them.
TEST(PruneScores, BehindAFlatten) {
  Model m = make({1, 2, 2, 1}, [](Net& n, const Tensor& x) { return n.fc("fc", flatten(n.conv("conv", x, 2)), 1, false); });
  set(m, "conv.weight", {1, 2});
  set(m, "fc.weight", {1, 5, 2, 6, 3, 7, 4, 8});  // channel 0 at the even columns
  auto l2 = [](Reduction r) { return Importance{.reduction = r, .normaliser = Normaliser::none}; };
  expect_scores(l2(Reduction::sum), {31, 178}, "sum", {}, m);
  expect_scores(l2(Reduction::mean), {15.5, 89}, "mean", {}, m);
  expect_scores(l2(Reduction::max), {16, 64}, "max", {}, m);
  expect_scores(l2(Reduction::product), {30, 696}, "product of sums", {}, m);
}

TEST(PruneScores, HessianTakesTheMeanOverSamples) {
  Model m = make({1, 1}, [](Net& n, const Tensor& x) { return n.fc("b", n.fc("a", x, 1, false), 1, false); });
  set(m, "a.weight", {1});
  set(m, "b.weight", {0});
  Tensor mean = Tensor::zeros({1, 1});
  for (float g : {1.0f, 2.0f, 3.0f}) mean = add(mean, Tensor::full({1, 1}, g * g / 3));
  expect_scores({.criterion = Criterion::hessian, .reduction = Reduction::sum, .normaliser = Normaliser::none}, {14.0 / 3}, "14/3",
                {{"a.weight", mean}}, m);
}

TEST(PruneScores, DepthwiseWeightsAndSlopesCountUnlessPublished) {
  Model m = make({1, 1, 1, 1}, [](Net& n, const Tensor& x) {
    return n.conv("b", n.prelu("act", n.conv("dw", n.conv("a", x, 2), 2, 1, Conv2dAttrs(1, 0, 2))), 1);
  });
  set(m, "a.weight", {1, 2});
  set(m, "dw.weight", {3, 4});
  set(m, "b.weight", {5, 6});
  set(m, "act.weight", {0.5, 0.25});
  const auto sum = Reduction::sum;
  expect_scores({.reduction = sum, .normaliser = Normaliser::none}, {35, 56}, "l2", {}, m);
  expect_scores({.reduction = sum, .normaliser = Normaliser::none, .published = true}, {26, 40}, "l2, published", {}, m);
  TensorMap ones;
  for (auto& [name, t] : m.tensors) ones[name] = Tensor::full(t.shape(), 1);
  expect_scores({.criterion = Criterion::taylor, .reduction = sum, .normaliser = Normaliser::none}, {9.5, 12.25}, "taylor", ones, m);
}

TEST(PruneScores, RandomDependsOnTheSeedAlone) {
  const Model m = toy();
  const Structure s = find_groups(m.graph);
  auto draw = [&](uint64_t seed) { return scores(m, s, {.criterion = Criterion::random, .normaliser = Normaliser::none, .seed = seed}); };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
  const Model two = make({1, 1, 1, 1}, [](Net& n, const Tensor& x) { return n.conv("c", n.conv("b", n.conv("a", x, 4), 4), 1); });
  const Structure groups = find_groups(two.graph);
  const auto all = scores(two, groups, {.criterion = Criterion::random, .normaliser = Normaliser::none});
  const auto of = [&](const char* name, int k) { return all[groups.of[two.graph.find(name)][0][k]]; };
  EXPECT_NE(of("a.weight", 0), of("b.weight", 0)) << "each group draws for itself";
}

TEST(PruneScores, NamesAreListedWhenOneIsUnknown) {
  for (auto& name : criterion_names()) criterion_named(name);
  EXPECT_EQ(error_of([] { normaliser_named("x"); }),
            "normaliser 'x': expected one of none, mean, sum, max, range, gaussian, sentinel, lamp");
  Model m = make({1, 2}, [](Net& n, const Tensor& x) { return n.fc("b", n.fc("a", x, 4), 1); });
  EXPECT_EQ(error_of([&] { scores(m, find_groups(m.graph), {.criterion = Criterion::bn}); }),
            "importance bn: nothing in the group of a counts for it");
}

// --- selection -----------------------------------------------------------------------------------------------------------------------
// 1x1 convolutions 1 -> widths... -> 2 without bias.
Model chain(const std::vector<int64_t>& widths) {
  return make({1, 1, 1, 1}, [&](Net& n, Tensor x) {
    for (size_t i = 0; i < widths.size(); ++i) x = n.conv(std::string(1, static_cast<char>('a' + i)), x, widths[i]);
    return n.conv("out", x, 2);
  });
}
struct Chosen {
  std::vector<std::vector<int64_t>> gone;  // by layer
  int64_t params;
};
Chosen choose(const std::vector<Numbers>& score, const Selection& o) {
  std::vector<int64_t> widths;
  for (auto& v : score) widths.push_back(static_cast<int64_t>(v.size()));
  const Model m = chain(widths);
  const Structure s = find_groups(m.graph);
  Numbers all(s.group_of.size());
  for (size_t i = 0; i < score.size(); ++i)
    for (size_t k = 0; k < score[i].size(); ++k)
      all[s.of[m.graph.find(std::string(1, static_cast<char>('a' + i)) + ".weight")][0][k]] = score[i][k];
  const Removed removed = select(m.graph, s, all, o);
  Chosen c{{}, params(narrowed(m.graph, s, removed))};
  for (size_t i = 0; i < score.size(); ++i) {
    c.gone.emplace_back();
    const Channels& rows = s.of[m.graph.find(std::string(1, static_cast<char>('a' + i)) + ".weight")][0];
    for (size_t k = 0; k < rows.size(); ++k)
      if (removed[rows[k]]) c.gone.back().push_back(static_cast<int64_t>(k));
  }
  return c;
}
using Gone = std::vector<std::vector<int64_t>>;
const std::vector<Numbers> kTwo = {{1, 2, 9, 10}, {3, 4, 5, 6}};

TEST(PruneSelect, GlobalRankingGoesWhereTheLowestScoresAre) {
  Chosen c = choose(kTwo, {.ratio = 0.25, .global = true});
  EXPECT_EQ(c.gone, (Gone{{0, 1}, {}}));
  EXPECT_EQ(c.params, 18);
  c = choose(kTwo, {.ratio = 0.5, .global = true});
  EXPECT_EQ(c.gone, (Gone{{0, 1}, {0, 1}}));
  EXPECT_EQ(c.params, 10);
  EXPECT_EQ(choose(kTwo, {.ratio = 0.25}).gone, (Gone{{0}, {0}}));
}

TEST(PruneSelect, MaxRatioHoldsInOneShotAndOthersGiveTheRest) {
  const std::vector<Numbers> score = {{1, 1, 1, 1, 1, 1, 1, 1}, {5, 6, 7, 8, 9, 10, 11, 12}};
  EXPECT_EQ(choose(score, {.ratio = 0.25, .global = true, .max_ratio = 0.25}).gone, (Gone{{0, 1}, {0, 1}}));
  EXPECT_EQ(choose(score, {.ratio = 0.45, .global = true}).gone, (Gone{{0, 1, 2, 3, 4, 5, 6}, {0}})) << "nobody is emptied";
  EXPECT_EQ(choose(score, {.ratio = 0.9, .max_ratio = 0.5}).gone, (Gone{{0, 1, 2, 3}, {0, 1, 2, 3}}));
}

TEST(PruneSelect, MaxRatioIsNeverExceededByRounding) {
  const std::vector<Numbers> score = {{1, 2, 3, 4, 5, 6, 7}};
  EXPECT_EQ(choose(score, {.ratio = 0.5, .max_ratio = 0.3}).gone, (Gone{{0, 1}})) << "2 of 7: 3 would be 43 %";
  EXPECT_EQ(choose(score, {.ratio = 0.5, .max_ratio = 0.1}).gone, (Gone{{}}));
  EXPECT_EQ(choose({Numbers(10, 1)}, {.ratio = 0.9, .max_ratio = 0.7}).gone[0].size(), 7u) << "10 (1 - 0.7) is 3, whatever f64 makes of it";
}

TEST(PruneSelect, TiesNeverRemoveMoreThanAskedFor) {
  const Chosen c = choose({Numbers(10, 1), Numbers(10, 1)}, {.ratio = 0.3, .global = true});
  EXPECT_EQ(c.gone[0].size() + c.gone[1].size(), 6u);
  EXPECT_EQ(choose({Numbers(4, 1), Numbers(4, 1)}, {.ratio = 0.25, .global = true}).gone, (Gone{{0, 1}, {}})) << "the first go";
}

TEST(PruneSelect, KeptIsThePublishedTruncationButNeverNone) {
  EXPECT_EQ(kept(64, 0.2), 51);
  EXPECT_EQ(kept(512, 0.2), 409);
  EXPECT_EQ(kept(10, 0.9), 1);
  EXPECT_EQ(kept(5, 0.8), 1);
  EXPECT_EQ(kept(8, 0.95), 1);
}

TEST(PruneSelect, StepsCountFromTheOriginalWidth) {
  auto widths = [](int64_t width, double ratio, int steps, bool global = false) {
    Model m = chain({width});
    const Structure first = find_groups(m.graph);
    std::vector<int64_t> original, seen;
    for (auto& g : first.groups) original.push_back(static_cast<int64_t>(g.channels.size()));
    Plan all;
    for (int t = 1; t <= steps; ++t) {
      const Structure s = find_groups(m.graph);
      const auto removed = select(m.graph, s, scores(m, s, {}), {.ratio = ratio * t / steps, .global = global, .widths = original});
      all = t == 1 ? plan_of(m.graph, s, removed) : then(all, plan_of(m.graph, s, removed));
      m = apply(m, s, removed);
      seen.push_back(m.tensors.at("a.weight").shape()[0]);
    }
    const Model again = chain({width});
    EXPECT_EQ(apply(again, first, removed_by(all, again.graph, first)).tensors.at("a.weight").values<float>(),
              m.tensors.at("a.weight").values<float>())
        << "one plan for all steps";
    return seen;
  };
  EXPECT_EQ(widths(64, 0.5, 5), (std::vector<int64_t>{57, 51, 44, 38, 32}));
  EXPECT_EQ(widths(512, 0.2, 4), (std::vector<int64_t>{486, 460, 435, 409}));
  EXPECT_EQ(widths(64, 0.5, 5, true), (std::vector<int64_t>{57, 51, 44, 38, 32}));
}

TEST(PruneSelect, RoundingGoesDownButNotToNone) {
  auto width = [](int64_t from, const Selection& o) { return from - static_cast<int64_t>(choose({Numbers(from, 1)}, o).gone[0].size()); };
  EXPECT_EQ(width(512, {.ratio = 0.2, .round_to = 8}), 408);
  EXPECT_EQ(width(64, {.ratio = 0.2, .round_to = 8}), 48);
  EXPECT_EQ(width(16, {.ratio = 0.9, .round_to = 8}), 8);
  EXPECT_EQ(width(12, {.ratio = 0, .round_to = 8}), 12) << "what shall not be pruned is not rounded";
  EXPECT_EQ(width(64, {.ratio = 0.5, .round_to = 8, .max_ratio = 0.4}), 40) << "max ratio outranks rounding";
  EXPECT_EQ(error_of([&] { width(8, {.ratio = 0.2, .round_to = 8}); }),
            "a has 8 channels: it cannot lose any and keep a multiple of 8 rows; protect it or round to less");
}

// Two groups of a convolution stand or fall together, so a channel is two rows of the layer before it.
TEST(PruneSelect, RoundingCountsRows) {
  const Model m = make(
      {1, 4, 4, 3}, [](Net& n, const Tensor& x) { return n.conv("c", n.conv("b", n.conv("a", x, 16), 16, 3, Conv2dAttrs(1, 1, 2)), 2); });
  const Structure s = find_groups(m.graph);
  const Removed removed = select(m.graph, s, Numbers(s.group_of.size(), 1), {.ratio = 0.25, .round_to = 4});
  EXPECT_EQ(apply(m, s, removed).tensors.at("a.weight").shape()[0], 12);
}

TEST(PruneSelect, RatiosOfLayersAndWhatCannotBePruned) {
  Selection o{.ratio = 0.5, .layers = parse_layer_ratios("a=0,b=0.75")};
  EXPECT_EQ(choose(kTwo, o).gone, (Gone{{}, {0, 1, 2}}));
  o.layers = parse_layer_ratios("[ab]=0.25");
  EXPECT_EQ(choose(kTwo, o).gone, (Gone{{0}, {0}}));
  o.layers = parse_layer_ratios("out=0.5");
  EXPECT_EQ(error_of([&] { choose(kTwo, o); }), "layer ratios 'out': out cannot lose channels: they are the network's output");
  o.layers = parse_layer_ratios("c=0.5");
  EXPECT_EQ(error_of([&] { choose(kTwo, o); }), "layer ratios 'c': no layer with weights has this name");
  for (const char* bad : {"a", "=0.5", "a=1", "a=-0.1", "a=x", "a=nan", "a=0.5x", "a=0.5 "})
    EXPECT_NE(error_of([&] { parse_layer_ratios(bad); }), "") << bad;
  EXPECT_EQ(error_of([] { choose({{1}}, {}); }), "nothing can be pruned: a: it has only one channel");
  EXPECT_EQ(error_of([] { choose({{1, std::numeric_limits<double>::quiet_NaN()}}, {}); }), "the score of a channel of a is nan");
  EXPECT_NE(error_of([] { choose(kTwo, {.ratio = 1}); }), "");
}

TEST(PruneSelect, TargetsAreReachedByBisection) {
  const Model m = shapes_only("iresnet18", {16, 16, 1.0 / 16, 16});
  const Structure s = find_groups(m.graph);
  const auto score = scores(randomised(m), s, {});
  const Count full = count(m.graph);
  for (bool global : {false, true})
    for (double share : {0.5, 0.25}) {
      Selection o{.global = global};
      const auto macs = [](const Graph& g) { return static_cast<double>(count(g).macs); };
      const double target = share * static_cast<double>(full.macs);
      o.ratio = ratio_for(m.graph, s, score, o, target, macs);
      EXPECT_LE(macs(narrowed(m.graph, s, select(m.graph, s, score, o))), target);
      o.ratio -= 1e-6;
      EXPECT_GT(macs(narrowed(m.graph, s, select(m.graph, s, score, o))), target) << "less pruning would have done";
    }
  const auto parameters = [](const Graph& g) { return static_cast<double>(params(g)); };
  EXPECT_NE(error_of([&] { ratio_for(m.graph, s, score, {}, 10, parameters); }).find("the smallest network that can be had costs"),
            std::string::npos);
  EXPECT_EQ(ratio_for(m.graph, s, score, {}, 1e9, parameters), 0);
}

// --- plans ---------------------------------------------------------------------------------------------------------------------------
TEST(PrunePlan, IsTextThatReplays) {
  const Model m = randomised(shapes_only("mbf", {16, 16}));
  const Structure s = find_groups(m.graph);
  const Removed removed = select(m.graph, s, scores(m, s, {}), {.ratio = 0.3});
  const Plan plan = plan_of(m.graph, s, removed);
  EXPECT_EQ(parse_plan(print(plan), "p"), plan);
  EXPECT_EQ(removed_by(plan, m.graph, s), removed);
  Plan leads;  // one line a group is enough
  std::vector<bool> covered(s.groups.size());
  for (auto& layer : plan.layers) {
    const int group = s.group_of[s.of[m.graph.find(layer.tensor)][0][0]];
    if (!covered[group]) leads.layers.push_back(layer);
    covered[group] = true;
  }
  EXPECT_LT(leads.layers.size(), plan.layers.size());
  EXPECT_EQ(removed_by(leads, m.graph, s), removed);
}

TEST(PrunePlan, RowsAreWrittenAsRanges) {
  const Plan plan{{{"a.weight", 12, {0, 1, 2, 5, 7, 8}}, {"b.weight", 3, {2}}}};
  EXPECT_EQ(print(plan), "vitrine plan 1\na.weight 12: 0-2 5 7-8\nb.weight 3: 2\n");
  EXPECT_EQ(parse_plan("vitrine plan 1\n# by hand\n\na.weight 12: 0 1 2 5 7-8\nb.weight 3: 2-2\n", "p"), plan);
}

TEST(PrunePlan, BadPlansAreRefusedWithAReason) {
  auto refusal = [](const std::string& lines) { return error_of([&] { parse_plan("vitrine plan 1\n" + lines, "p"); }); };
  EXPECT_EQ(error_of([] { parse_plan("plan", "p"); }), "p:1: expected the line 'vitrine plan 1'");
  EXPECT_EQ(refusal("a 4: 0\na 4: 1\n"), "p:3: a is named twice");
  EXPECT_EQ(refusal("a 4 0\n"), "p:2: expected <tensor> <rows>: <kept rows>");
  EXPECT_EQ(refusal("a 4:\n"), "p:2: a keeps no row");
  for (const char* bad : {"a 4: 4", "a 4: 1 1", "a 4: 2-1", "a 4: -1", "a 4: x", "a 99999999999: 0-99999999998", "a 4: 1-", "a", "a :"})
    EXPECT_NE(refusal(bad), "") << bad;

  const Model m = make({1, 4, 4, 3}, [](Net& n, const Tensor& x) { return n.conv("c", add(n.conv("a", x, 4), n.conv("b", x, 4)), 2); });
  const Structure s = find_groups(m.graph);
  auto removal = [&](const Plan& p) { return error_of([&] { removed_by(p, m.graph, s); }); };
  EXPECT_EQ(removal({{{"x", 4, {0}}}}), "plan: no layer has weights x");
  EXPECT_EQ(removal({{{"a.weight", 5, {0}}}}), "plan: a.weight has 4 rows, the plan says 5");
  EXPECT_EQ(removal({{{"a.weight", 4, {0, 1}}, {"b.weight", 4, {1, 2}}}}),
            "plan: row 0 of b.weight is one channel with others: b.weight removes it, a.weight keeps it");
  EXPECT_EQ(removal({{{"c.weight", 2, {0}}}}), "plan: c cannot lose channels: they are the network's output");
  const Model halves = make({1, 4, 4, 3}, [](Net& n, const Tensor& x) {
    const Tensor y = n.conv("a", x, 4);
    return add(n.conv("b", slice(y, -1, 0, 2), 2), n.conv("c", slice(y, -1, 2, 4), 2));
  });
  EXPECT_EQ(error_of([&] {
              removed_by({{{"a.weight", 4, {2, 3}}}}, halves.graph, find_groups(halves.graph));
            }),
            "plan: a would lose all channels of a group");
}

// --- mean compensation ----------------------------------------------------------------------------------------------------------------
TEST(PruneCompensation, RemovedChannelsThatAreConstantAreMadeUpForExactly) {
  for (const bool bias : {false, true}) {
    Model m = make({1, 5, 5, 2}, [&](Net& n, const Tensor& x) {
      Tensor y = n.conv("b", n.bn("bn", n.conv("a", x, 6, 3, true)), 4, 1, bias);
      return n.fc("fc", flatten(bias ? y : n.bn("next", y)), 3);
    });
    const Structure s = find_groups(m.graph);
    Removed removed(s.group_of.size());
    for (int k : {1, 4}) {
      removed[s.of[m.graph.find("a.weight")][0][k]] = true;
      m.tensors.at("bn.weight").data<float>()[k] = 0;  // the channel is its beta everywhere
    }
    const Tensor x = random_input(m.graph, Dtype::f32);
    Model less = apply(m, s, removed);
    Means means(m);
    means.observe(x);
    EXPECT_EQ(means.compensate(less, s, removed), 2) << "b, whose bias or BatchNorm follows it, and fc whose bias does";
    auto want = run(m.graph, m.tensors, {x})[0].values<double>(), got = run(less.graph, less.tensors, {x})[0].values<double>();
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-4 * std::max(1.0, std::abs(want[i])));
  }
}

// --- regularisers ----------------------------------------------------------------------------------------------------------------------
TEST(PruneSparsity, PullsOfTheTruthTable) {
  const Model m = toy();
  const Structure s = find_groups(m.graph);
  auto pull = [&](SparsityOptions o, const char* name) {
    TensorMap g;
    for (auto& [n, t] : m.tensors) g[n] = Tensor::zeros(t.shape());
    Sparsity(s, o).add(m, g);
    return g.at(name).values<double>();
  };
  using Kind = SparsityOptions::Kind;
  auto expect = [&](SparsityOptions o, const char* name, const Numbers& want) {
    const auto got = pull(o, name);
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-3 * std::max(1.0, std::abs(want[i]))) << name << " " << i;
  };
  expect({Kind::group, 1}, "conv1.weight", {16, -6.7103, 3});
  expect({Kind::group, 1}, "bn.weight", {16, 6.7103, .5});
  expect({Kind::group, 1}, "conv2.weight", {16, 0, 2, -16, 3.3551, 1});
  expect({Kind::bn, 0.5}, "bn.weight", {.5, .5, .5});
  expect({Kind::bn_group, 1}, "bn.weight", {1, 1, 1});
  expect({Kind::bn, 1}, "conv1.weight", {0, 0, 0});
  Sparsity growing(s, {Kind::growing, 1e-5, 1e-5});
  growing.grow(m);
  const Channels& rows = s.of[m.graph.find("conv1.weight")][0];
  const double lambda[] = {2e-5, 1.5122e-5, 1e-5};
  for (int k = 0; k < 3; ++k) EXPECT_NEAR(growing.lambda()[rows[k]], lambda[k], 1e-9) << k;
}

TEST(PruneSparsity, AGroupsBatchNormsPullByTheirMeanSquare) {
  Model m = make({1, 1, 1, 1},
                 [](Net& n, const Tensor& x) { return n.conv("out", add(n.bn("p", n.conv("a", x, 2)), n.bn("q", n.conv("b", x, 2))), 1); });
  set(m, "p.weight", {1, 1});
  set(m, "q.weight", {3, 1});
  TensorMap g{{"p.weight", Tensor::zeros({2})}, {"q.weight", Tensor::zeros({2})}};
  Sparsity(find_groups(m.graph), {SparsityOptions::Kind::bn_group, 1}).add(m, g);
  EXPECT_NEAR(g.at("p.weight").values()[0], 1 / std::sqrt(5.0), 1e-6);
  EXPECT_NEAR(g.at("q.weight").values()[0], 3 / std::sqrt(5.0), 1e-6);
  EXPECT_NEAR(g.at("q.weight").values()[1], 1, 1e-6);
}

TEST(PruneSparsity, EqualScoresPullEquallyAndAreNoNaN) {
  Model m = toy();
  set(m, "conv1.weight", {1, -1, 1});
  set(m, "bn.weight", {1, 1, 1});
  set(m, "conv2.weight", {1, 1, 1, 1, 1, 1});
  const Structure s = find_groups(m.graph);
  TensorMap g{{"conv1.weight", Tensor::zeros({3, 1, 1, 1})}};
  Sparsity(s, {.strength = 0.5}).add(m, g);
  EXPECT_EQ(g.at("conv1.weight").values<double>(), (Numbers{.5, -.5, .5}));
}

}  // namespace
}  // namespace vitrine::prune
