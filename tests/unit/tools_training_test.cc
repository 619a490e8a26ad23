// The training loop, called directly.
#include "tools/training.h"

#include <gtest/gtest.h>

#include "data/synthetic.h"
#include "nn/io/safetensors.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tests/unit/data_testing.h"
#include "tools/finetune.h"

namespace vitrine::tools {
namespace {

Model trained(const Model& teacher, double lr, std::vector<Json>* metrics) {
  Model student = quant::quantface(teacher, {6, 6});
  data::SyntheticSet set(1, 0, 8, 4);
  Recipe recipe;
  recipe.schedule.base = lr;
  fit(
      student, &teacher, set, [&](int64_t) { return data::shuffled_batches(set.size(), 8, 1, 0); }, recipe, {},
      [&](const StepMetrics& m) { metrics->push_back(to_json(m)); });
  return student;
}

// The loop keeps no history at a rate of 0; a rate that is 0 only once it is an f32 takes the long way to the same place.
TEST(Training, ARateOfZeroLeavesTheWeightsAndMovesStatisticsAndRangesAsTrainingDoes) {
  Model teacher = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16});
  teacher.info["shrink"] = "4";
  std::vector<Json> still, tiny;
  Model a = trained(teacher, 0, &still), b = trained(teacher, 1e-60, &tiny);
  for (auto& [name, t] : a.tensors) EXPECT_EQ(t.values(), b.tensors.at(name).values()) << name;
  for (auto& name : nn::trainable(teacher)) EXPECT_EQ(a.tensors.at(name).values(), teacher.tensors.at(name).values()) << name;
  EXPECT_NE(a.tensors.at("bn1.running_mean").values(), teacher.tensors.at("bn1.running_mean").values());
  ASSERT_EQ(still.size(), 4u);
  ASSERT_EQ(tiny.size(), 4u);
  for (size_t i = 0; i < still.size(); ++i) {
    EXPECT_EQ(still[i]["loss"], tiny[i]["loss"]);
    EXPECT_FALSE(still[i].contains("grad_norm")) << "a norm that nobody computed";
    EXPECT_GT(tiny[i]["grad_norm"].get<double>(), 0);
  }
}

const data::Batches kEight = {{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}}};

StepMetrics first_step(const Recipe& recipe, std::vector<int64_t> labels, const data::Batches& batches = kEight) {
  Model teacher = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16}),
        student = quant::quantface(teacher, {6, 6});
  for (Model* m : {&teacher, &student}) m->info["shrink"] = "4";
  const data::SyntheticSet rendered(1, 0, 4, 2);
  std::vector<data::Image> images;
  for (int64_t i = 0; i < rendered.size(); ++i) images.push_back(rendered.image(i));
  const data::MemorySet set(images, std::move(labels));
  std::optional<StepMetrics> first;
  fit(
      student, &teacher, set, [&](int64_t) { return batches; }, recipe, {}, [&](const StepMetrics& m) { first = first.value_or(m); });
  return *first;
}
StepMetrics first_step(const std::string& terms, int64_t ce_images, std::vector<int64_t> labels) {
  Recipe recipe;
  recipe.objective.terms = terms, recipe.objective.ce_images = ce_images;
  return first_step(recipe, std::move(labels));
}

TEST(Training, CrossEntropySeesTheFirstImagesOfABatchOnly) {
  const std::vector<int64_t> labels{0, 0, 1, 1, 2, 2, 3, 3}, others{0, 0, 1, 1, 3, 0, 2, 1};
  EXPECT_EQ(first_step("ce", 4, labels).ce, first_step("ce", 4, others).ce);
  EXPECT_NE(first_step("ce", 0, labels).ce, first_step("ce", 0, others).ce);
  EXPECT_EQ(first_step("ce", 8, labels).ce, first_step("ce", 0, labels).ce);
}

// Positives of three kinds, by the options of the command line.
TEST(Training, EkdByViewsOrByTheTeacherReadsNoLabel) {
  const std::vector<int64_t> labels{0, 0, 1, 1, 2, 2, 3, 3}, nobody(8, 0);
  const data::MemorySet set(std::vector<data::Image>(8, data::Image(112, 112)), labels);
  const auto step = [&](FinetuneOptions o, const std::vector<int64_t>& l) {
    o.batch = 8;
    return first_step(recipe_of(o, 1), l, o.ekd_positives == "views" ? draw(o, set, 1, 0) : kEight);
  };
  const FinetuneOptions views{.ekd_positives = "views"}, teacher{.ekd_positives = "teacher"};
  EXPECT_EQ(step(views, labels).positives, 4) << "four images and their mirror images";
  EXPECT_EQ(step(views, labels).loss, step(views, nobody).loss);
  EXPECT_EQ(step(teacher, labels).loss, step(teacher, nobody).loss);
  EXPECT_NE(step({}, labels).loss, step({}, nobody).loss);
  FinetuneOptions alike = teacher;
  alike.teacher_cosine = -1;
  EXPECT_EQ(step(alike, labels).positives, 28) << "all pairs of 8 images";
  for (auto change : {+[](FinetuneOptions& o) { o.ekd_form = "distance"; }, +[](FinetuneOptions& o) { o.ekd_start = "first-batch"; }}) {
    FinetuneOptions other;
    change(other);
    EXPECT_NE(step(other, labels).loss, step({}, labels).loss);
  }
}

TEST(Finetune, ViewsAreAnImageAndItsMirrorImageHalfABatchApart) {
  const data::MemorySet set(std::vector<data::Image>(11, data::Image(112, 112)), std::vector<int64_t>(11, 0));
  FinetuneOptions o{.ekd_positives = "views", .batch = 4};
  const data::Batches all = draw(o, set, 1, 0);
  ASSERT_EQ(all.size(), 5u);
  for (auto& b : all) {
    ASSERT_EQ(b.size(), 4u);
    for (int i : {0, 1}) EXPECT_EQ(b[i + 2], (data::Sample{b[i].index, !b[i].flip}));
  }
  o.batch = 5;
  EXPECT_THROW(draw(o, set, 1, 0), CLI::ValidationError);
}

TEST(Training, DropoutChangesAStepAndLeavesNothingInTheModel) {
  Recipe plain, dropped;
  dropped.dropout = 0.4;
  const std::vector<int64_t> labels{0, 0, 1, 1, 2, 2, 3, 3};
  EXPECT_NE(first_step(dropped, labels).loss, first_step(plain, labels).loss);
  Model network = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16});
  network.info["shrink"] = "4";
  const size_t before = network.tensors.size();
  const data::SyntheticSet set(1, 0, 4, 2);
  dropped.objective.terms = "ce";
  fit(
      network, nullptr, set, [](int64_t) { return kEight; }, dropped);
  EXPECT_EQ(network.tensors.size(), before);
  Model flat = nn::make_model("mobilefacenet", 1);
  EXPECT_THROW(fit(
                   flat, nullptr, set, [](int64_t) { return kEight; }, dropped),
               Error)
      << "no matrix behind a flatten";
}

// The recipe of the paper and of TFace, whatever a training makes of it.
TEST(Finetune, TheRecipeIsThatOfTheOptions) {
  const Recipe r = recipe_of({.terms = "ekd+ce", .ekd_start = "first-batch", .batch = 32, .clip = 3}, 9);
  EXPECT_EQ(r.objective.ce_images, 16) << "the half that is drawn at random";
  EXPECT_EQ(recipe_of({.terms = "ce", .batch = 32}, 9).objective.ce_images, 0) << "all of a shuffled batch";
  const losses::Margin& m = r.objective.head.margin;
  EXPECT_EQ(m.m1, 1);
  EXPECT_EQ(m.m2, 0.4);
  EXPECT_EQ(m.m3, 0);
  EXPECT_EQ(m.scale, 64);
  EXPECT_TRUE(m.falling && !m.straight);
  EXPECT_EQ(r.objective.head.seed, 9u);
  EXPECT_EQ(r.clip, 3);
  EXPECT_EQ(r.objective.ekd.start, losses::EkdOptions::Start::first_batch);
  EXPECT_EQ(recipe_of({}, 9).objective.ekd.start, losses::EkdOptions::Start::zero);
}

TEST(Finetune, BatchesToLookAtAreNotMirrored) {
  const data::MemorySet set(std::vector<data::Image>(40, data::Image(112, 112)), std::vector<int64_t>(40, 0));
  for (auto& batch : draw_as_they_are({.batch = 8}, set, 1, 4))
    for (auto& sample : batch) EXPECT_FALSE(sample.flip);
  EXPECT_EQ(draw_as_they_are({.batch = 8}, set, 1, 4).size(), 4u);
  EXPECT_EQ(draw_as_they_are({.batch = 99}, set, 1, 4).size(), 1u) << "a batch of all";
}

struct Network {
  Model model = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16});
  data::SyntheticSet set{1, 0, 4, 2};
  Network() { model.info["shrink"] = "4"; }
};

TEST(Training, EachStepHasTheRateOfTheStepsBeforeItAndEachEpochItsOwnBatches) {
  Network n;
  Recipe recipe;
  recipe.schedule.kind = nn::Schedule::Kind::polynomial, recipe.schedule.warmup = 2, recipe.epochs = 3;
  recipe.objective.terms = "ce";
  std::vector<int64_t> epochs;
  int64_t step = 0;
  fit(
      n.model, nullptr, n.set,
      [&](int64_t epoch) {
        epochs.push_back(epoch);
        return data::Batches{kEight[0], kEight[0]};
      },
      recipe, {}, [&](const StepMetrics& m) { EXPECT_EQ(m.lr, nn::learning_rate(recipe.schedule, step++, 6)) << step; });
  EXPECT_EQ(step, 6);
  EXPECT_EQ(epochs, (std::vector<int64_t>{0, 1, 2}));
}

// Ranges follow in the first steps and are what these alone make of them.
TEST(Training, RangesFreezeBehindTheStepThatIsNamed) {
  const Network n;
  const data::Batches both = {{{0}, {1}}, {{2}, {3}}}, first = {both[0]};
  const auto range = [&](const data::Batches& batches, int64_t track_steps) {
    Model student = quant::quantface(n.model, {6, 6});
    Recipe recipe;
    recipe.schedule.base = 0, recipe.track_steps = track_steps;
    fit(
        student, &n.model, n.set, [&](int64_t) { return batches; }, recipe);
    return student.tensors.at("prelu.range").values();
  };
  EXPECT_EQ(range(both, 1), range(first, 1));
  EXPECT_NE(range(both, 2), range(first, 1));
  EXPECT_EQ(range(both, 0), (std::vector<double>{0, 0}));
}

// Its momentum is plain and its decay the network's, and its gradient is not clipped.
TEST(Training, TheHeadsStepIsPlainSgdWithDecay) {
  const data::Scratch s;
  const auto head_after = [&](int64_t steps, double lr, double decay, double clip) {
    Network n;
    Recipe recipe;
    recipe.schedule.base = lr, recipe.weight_decay = decay, recipe.clip = clip;
    recipe.objective.terms = "ce", recipe.objective.head.seed = 3;
    fit(n.model, nullptr, n.set, [&](int64_t) { return data::Batches(static_cast<size_t>(steps), kEight[0]); }, recipe,
        {.file = s / "c.safetensors", .every = steps});
    std::map<std::string, std::vector<double>> head;
    for (auto& [name, tensor] : io::read_safetensors(s / "c.safetensors").tensors) head[name] = tensor.values();
    return std::pair(head.at("objective/head.weight"), head.at("objective/head.velocity"));
  };
  losses::Head fresh({.classes = 4, .dim = 16, .seed = 3});
  const auto start = fresh.tensors()["head.weight"].values();
  const auto [w, v] = head_after(1, 0.01, 0, 0);
  EXPECT_EQ(head_after(1, 0.01, 0, 1e-3).second, v) << "a bound for the network's gradient";
  const auto decayed = head_after(1, 0.01, 0.5, 0).second, twice = head_after(2, 1e-30, 0, 0).second;
  for (size_t i = 0; i < start.size(); ++i) {
    EXPECT_NEAR(w[i], start[i] - 0.01 * v[i], 1e-6) << "no look ahead";
    EXPECT_NEAR(decayed[i], v[i] + 0.5 * start[i], 1e-5);
    EXPECT_NEAR(twice[i], 1.9 * v[i], 1e-4 * (1 + std::abs(v[i]))) << "the same gradient twice, with momentum 0.9";
  }
}

// From rest the first step of Nesterov's form is 1 + momentum times that without.
TEST(Training, TheNetworksMomentumIsNesterovs) {
  const auto moved = [](double momentum) {
    Network n;
    const auto before = n.model.tensors.at("conv1.weight").values();
    Recipe recipe;
    recipe.schedule.base = 0.01, recipe.momentum = momentum, recipe.weight_decay = 0, recipe.clip = 0;
    recipe.objective.terms = "ce";
    fit(
        n.model, nullptr, n.set, [](int64_t) { return kEight; }, recipe);
    auto after = n.model.tensors.at("conv1.weight").values();
    for (size_t i = 0; i < after.size(); ++i) after[i] -= before[i];
    return after;
  };
  const auto plain = moved(0), nesterov = moved(0.9);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(nesterov[i], 1.9 * plain[i], 1e-6 + 1e-4 * std::abs(plain[i]));
}

TEST(Training, ALossThatIsNoNumberEndsIt) {
  Network n;
  Recipe recipe;
  recipe.schedule.base = 1e30, recipe.clip = 0, recipe.epochs = 4;
  recipe.objective.terms = "ce";
  EXPECT_NE(data::error_of([&] {
              fit(
                  n.model, nullptr, n.set, [](int64_t) { return kEight; }, recipe);
            }).find("training diverged"),
            std::string::npos);
}

TEST(Training, PeopleWithoutImagesAreNoClasses) {
  EXPECT_EQ(first_step("ce", 0, {0, 0, 1, 1, 2, 2, 3, 3}).ce, first_step("ce", 0, {5, 5, 7, 7, 20, 20, 91, 91}).ce);
}

TEST(Training, EachTermOfASumIsReportedAlone) {
  const std::vector<int64_t> labels{0, 0, 1, 1, 2, 2, 3, 3};
  const StepMetrics sum = first_step("ekd+mse+ce", 0, labels), turned = first_step("ce+mse+ekd", 0, labels);
  EXPECT_EQ(sum.mse, first_step("mse", 0, labels).loss);
  EXPECT_EQ(sum.mse, first_step("ekd", 0, labels).mse);
  EXPECT_EQ(sum.ce, first_step("ce", 0, labels).loss);
  EXPECT_NEAR(sum.loss, first_step("ekd", 0, labels).loss + sum.mse + sum.ce, 1e-6 * sum.loss);
  EXPECT_EQ(turned.loss, sum.loss) << "the order of names means nothing";
  EXPECT_TRUE(has_term("ce+ekd", "ekd") && !has_term("ce+ekd", "mse"));
}

}  // namespace
}  // namespace vitrine::tools
