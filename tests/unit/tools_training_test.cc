// The training loop, called directly.
#include "tools/training.h"

#include <gtest/gtest.h>

#include "data/synthetic.h"
#include "nn/network.h"
#include "quant/placement.h"

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

}  // namespace
}  // namespace vitrine::tools
