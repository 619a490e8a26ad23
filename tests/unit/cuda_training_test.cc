// A whole network on the device: forward with the bits of the cpu, teacher, student and EKD in training steps, embeddings by the tool.
#include <gtest/gtest.h>
#include <algorithm>

#include <cmath>

#include "data/dataset.h"
#include "engine/core/rng.h"
#include "engine/graph/fuse.h"
#include "engine/graph/rewrite.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tests/cuda.h"
#include "tools/ijb_device.h"
#include "tools/ijb_features.h"
#include "tools/training.h"
#include "tools/training_step.h"

namespace vitrine {
namespace {

Model tiny() { return nn::make_model("iresnet18", 1, {32, 32, 1.0 / 16, 8}); }
Model student_of(const Model& teacher) { return quant::quantface(teacher, quant::parse_bits("w6a6")); }

data::MemorySet images(int n) {
  std::vector<data::Image> all;
  std::vector<int64_t> labels;
  Philox rng(5);
  for (int i = 0; i < n; ++i) {
    all.emplace_back(32, 32);
    for (uint8_t& p : all.back().pixels) p = static_cast<uint8_t>(rng.next());
    labels.push_back(i / 2);
  }
  return {std::move(all), std::move(labels)};
}

Tensor pixels() {
  Tensor x = Tensor::zeros({2, 32, 32, 3});
  Philox rng(6);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(2 * rng.uniform() - 1);
  return x;
}

void expect_same(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (auto& [name, t] : a) EXPECT_EQ(t.values(), b.at(name).values()) << name;
}

TEST(CudaNetwork, AQuantizedTrainingForwardHasTheBitsOfTheCpu) {
  VITRINE_NEEDS_CUDA;
  OwnKernels own;
  NoGrad quiet;
  Model host = student_of(tiny()), device = to(host, Device::cuda);
  host = clone(host);
  Graph g = quant::with_running_ranges(with_batch_statistics(host.graph), {});
  Tensor on_host = run(g, host.tensors, {pixels()})[0], on_device = run(g, device.tensors, {pixels().to(Device::cuda)})[0];
  EXPECT_EQ(on_device.device(), Device::cuda);
  EXPECT_EQ(on_device.values(), on_host.values());
  expect_same(device.tensors, host.tensors);  // running statistics and ranges moved alike
}

// One rounding for all that read a value, and a gradient that is rounded once for both that read it.
TEST(CudaNetwork, AStepInBf16HasTheBitsOfTheCpuAndKeepsLess) {
  VITRINE_NEEDS_CUDA;
  OwnKernels own;
  const Model model = student_of(tiny());
  const Graph in_f32 = tools::as_trained(quant::with_running_ranges(with_batch_statistics(model.graph), {}), Device::cuda, true);
  mode().precision = Mode::Precision::bf16;
  const Graph in_bf16 = tools::as_trained(quant::with_running_ranges(with_batch_statistics(model.graph), {}), Device::cuda, true);
  mode().precision = Mode::Precision::f32;
  auto step = [&](const Graph& g, Device where, int64_t* kept) {
    Model m = to(model, where);
    if (where == Device::cpu) m = clone(m);
    Tensors parameters;
    for (auto& name : nn::trainable(m)) parameters.push_back(m.tensors.at(name).set_requires_grad());
    const Tensor x = pixels().to(where);
    const int64_t before = memory_use(where).live;
    const Tensor y = run(g, m.tensors, {x})[0];
    *kept = memory_use(where).live - before;
    Tensors all = grad(sum(mul(y, y)), parameters);
    all.push_back(y);
    return all;
  };
  int64_t f32, bf16, host;
  const Tensors wide = step(in_f32, Device::cuda, &f32), got = step(in_bf16, Device::cuda, &bf16), want = step(in_bf16, Device::cpu, &host);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].values(), want[i].values()) << i;
  EXPECT_NE(got.back().values(), wide.back().values());
  EXPECT_LT(bf16, f32);
}

// What only convolutions read, and their weights, are rounded once, where they are written: the teacher of a step in bf16.
TEST(CudaNetwork, TheInferenceFormInBf16HasTheBitsOfTheCpuAndRoundsBetweenConvolutions) {
  VITRINE_NEEDS_CUDA;
  OwnKernels own;
  NoGrad quiet;
  for (const bool residual : {true, false}) {
    const char* network = residual ? "iresnet18" : "mobilefacenet";
    const Model model = nn::make_model(network, 1, {32, 32, residual ? 0.125 : 1, 16});
    const auto fused_as = [&](Mode::Precision p) {
      mode().precision = p;
      const Model f = fused(to(model, Device::cuda));
      mode().precision = Mode::Precision::f32;
      return f;
    };
    const Model wide = fused_as(Mode::Precision::tf32), half = fused_as(Mode::Precision::bf16);
    const auto count = [](const Model& m, bool outputs) {
      return std::count_if(m.graph.nodes.begin(), m.graph.nodes.end(), [&](const GraphNode& n) {
        return is(n, "conv2d_fused") && m.graph.values[outputs ? n.out[0] : n.in[1]].meta.dtype == Dtype::bf16;
      });
    };
    EXPECT_EQ(count(wide, false) + count(wide, true), 0);
    EXPECT_EQ(count(half, false), residual ? 21 : 49) << network << ": all but the matrix";
    EXPECT_EQ(count(half, true), residual ? 8 : 36)
        << network << ": the first of each block's two; all but the 12 that are added to and the last two";
    if (!residual) continue;
    const auto embed = [&](const Model& m, Device where) { return run(m.graph, to(m, where).tensors, {pixels().to(where)})[0].values(); };
    const auto got = embed(half, Device::cuda), full = embed(wide, Device::cuda);
    EXPECT_EQ(got, embed(half, Device::cpu)) << network;
    EXPECT_NE(got, full);
    double dot = 0, a = 0, b = 0;
    for (size_t i = 0; i < got.size(); ++i) dot += got[i] * full[i], a += got[i] * got[i], b += full[i] * full[i];
    EXPECT_GT(dot / std::sqrt(a * b), 0.999) << network;
  }
}

TEST(CudaNetwork, TheInferenceFormOfAStudentHasTheBitsOfTheCpu) {
  VITRINE_NEEDS_CUDA;
  OwnKernels own;
  NoGrad quiet;
  const Model host = student_of(tiny());
  run(quant::with_running_ranges(host.graph, {}), host.tensors, {pixels()});
  const Model device = fused(to(host, Device::cuda));
  EXPECT_EQ(std::string(device.graph.nodes[0].op->name), "conv2d_fused");
  EXPECT_EQ(run(device.graph, device.tensors, {pixels().to(Device::cuda)})[0].values(),
            run(host.graph, host.tensors, {pixels()})[0].values());
}

Model trained(Device where, std::vector<tools::StepMetrics>& steps) {
  Model teacher = to(tiny(), where), student = student_of(teacher);
  auto set = images(4);
  tools::Recipe recipe;
  recipe.objective.terms = "ekd", recipe.exact = true;  // Winograd takes long on a simulated device
  tools::fit(
      student, &teacher, set,
      [](int64_t) {
        return data::Batches{{{0}, {1}, {2}, {3}}, {{3}, {2}, {1}, {0}}};
      },
      recipe, {}, [&](const tools::StepMetrics& m) { steps.push_back(m); });
  return student;
}

TEST(CudaNetwork, TeacherStudentAndEkdTrainOnTheDeviceToTheSameBitsAgain) {
  VITRINE_NEEDS_CUDA;
  std::vector<tools::StepMetrics> first, second;
  Model a = trained(Device::cuda, first), b = trained(Device::cuda, second);
  ASSERT_EQ(first.size(), 2u);
  for (auto& [name, t] : a.tensors) EXPECT_EQ(t.device(), Device::cuda) << name;
  expect_same(a.tensors, b.tensors);
  EXPECT_EQ(first[1].loss, second[1].loss);
  EXPECT_GT(first[0].grad_norm, 0);
  EXPECT_NE(a.tensors.at("conv1.weight").values(), tiny().tensors.at("conv1.weight").values()) << "nothing was learned";
}

// ---- replayed steps ------------------------------------------------------------------------------------------------------------------

struct Rows : nn::Module {
  Tensor forward(const Tensor& x) override { return flatten(x); }
  void members(nn::Visitor&) override {}
};
Model smallest() {
  nn::Sequential net;
  net.add<nn::Conv2d>(3, 4, 3, 3, 2, 1).add<nn::BatchNorm>(4).add<nn::PRelu>(4).add<Rows>().add<nn::Linear>(64, 6);
  nn::initialise(net, 3);
  return nn::to_model(net, "smallest", {8, 8});
}

struct Trained {
  TensorMap tensors;
  std::vector<tools::StepMetrics> steps;
};
// Four steps in which ranges follow, then six: the eighth has a batch of its own size.
Trained ten_steps(tools::Recipe recipe) {
  Model teacher = to(smallest(), Device::cuda), student = student_of(teacher);
  auto set = images(4);
  recipe.track_steps = 4, recipe.exact = true;
  Trained t;
  tools::fit(
      student, &teacher, set,
      [](int64_t) {
        data::Batches all(10, {{0}, {1, true}, {2}, {3}});
        all[2] = {{3}, {1}, {0}, {2, true}}, all[7] = {{0}, {3}};
        return all;
      },
      recipe, {}, [&](const tools::StepMetrics& m) { t.steps.push_back(m); });
  t.tensors = student.tensors;
  return t;
}

void expect_replays(tools::Recipe recipe, const std::vector<bool>& which) {
  const Trained replayed = ten_steps(recipe);
  recipe.replay = false;
  const Trained eager = ten_steps(recipe);
  expect_same(replayed.tensors, eager.tensors);
  for (size_t i = 0; i < which.size(); ++i) {
    EXPECT_EQ(replayed.steps[i].replayed, which[i]) << "step " << i + 1;
    EXPECT_FALSE(eager.steps[i].replayed);
    EXPECT_EQ(tools::to_json(replayed.steps[i]), tools::to_json(eager.steps[i]));
  }
}

// A step is recorded where the one before had its graph and shape: nothing in between needs the host, or the bits would differ. One of
// another shape gets the recording's memory, so the ninth is not replayed.
const std::vector<bool> kReplayed = {false, true, true, true, false, true, true, false, false, true};

TEST(CudaReplay, StepsOfEkdHaveTheBitsOfStepsThatAreNotReplayed) {
  VITRINE_NEEDS_CUDA;
  tools::Recipe recipe;
  recipe.schedule.kind = nn::Schedule::Kind::cosine, recipe.schedule.base = 0.1, recipe.clip = 0.5;
  expect_replays(recipe, kReplayed);
}

TEST(CudaReplay, SoHaveThoseOfAdamWWithAHead) {
  VITRINE_NEEDS_CUDA;
  tools::Recipe recipe;
  recipe.objective.terms = "ekd+ce", recipe.optimiser = "adamw";
  expect_replays(recipe, kReplayed);
}

// Its step counts on in the recording.
TEST(CudaReplay, SoHaveStepsWithDropout) {
  VITRINE_NEEDS_CUDA;
  tools::Recipe recipe;
  recipe.objective.terms = "mse", recipe.dropout = 0.4;
  expect_replays(recipe, kReplayed);
}

TEST(CudaReplay, AStepThatReadsOnTheHostIsNotReplayed) {
  VITRINE_NEEDS_CUDA;
  tools::Recipe recipe;
  recipe.penalty = [](Tensors& g) { g[0].values(); };
  testing::internal::CaptureStderr();
  expect_replays(recipe, std::vector<bool>(10, false));
  const std::string said = testing::internal::GetCapturedStderr(), why = "training steps are not replayed: ";
  int64_t times = 0;
  for (size_t at = 0; (at = said.find(why, at)) != std::string::npos; ++at) ++times;
  EXPECT_EQ(times, 2) << "once for each of the two graphs: " << said;
}

TEST(CudaReplay, AStateLoadedInBetweenIsTheOneThatStepsMove) {
  VITRINE_NEEDS_CUDA;
  const auto steps = [](bool replay) {
    Model m = to(smallest(), Device::cuda);
    const Graph graph = with_batch_statistics(m.graph);
    nn::Sgd optimiser(m.tensors, nn::trainable(m), {});
    tools::TrainingStep step(m.tensors, nullptr, optimiser, {}, replay);
    const Tensor x = Tensor::full({2, 8, 8, 3}, 0.5).to(Device::cuda), g = Tensor::full({2, 6}, 0.1).to(Device::cuda);
    for (int i = 0; i < 5; ++i) {
      if (i == 3) optimiser.load_state(optimiser.state());
      step.forward(graph, x), step.backward(g);
      EXPECT_EQ(step.replays(), replay && (i == 1 || i == 2)) << i;
    }
    TensorMap all = optimiser.state();
    for (auto& [name, t] : m.tensors) all[name] = t;
    return all;
  };
  expect_same(steps(true), steps(false));
}

// ---- optimisers ------------------------------------------------------------------------------------------------------------------------

// Three parameters, one of which has no gradient at first; clipped.
template <class Optimiser, class Options>
std::pair<TensorMap, std::vector<double>> optimised(Device where, const Options& options) {
  Philox rng(8);
  auto some = [&](Shape s) {
    Tensor t = Tensor::zeros(s);
    for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(rng.normal());
    return t.to(where);
  };
  TensorMap all{{"a", some({3, 5})}, {"b", some({5000})}, {"c", some({})}};
  Optimiser optimiser(all, {"a", "b", "c"}, options);
  std::vector<double> norms;
  for (int step = 0; step < 3; ++step) {
    optimiser.set_lr(0.1 / (step + 1));
    Tensor a = some({3, 5}), b = some({5000}), c = some({});
    norms.push_back(optimiser.step({a, step == 0 ? Tensor() : b, c}));
  }
  for (auto& [name, t] : optimiser.state()) all[name] = t;
  return {all, norms};
}

TEST(CudaOptimiser, StepsOverAllParametersHaveTheBitsOfTheCpu) {
  VITRINE_NEEDS_CUDA;
  auto expect_equal = [](auto on_device, auto on_host) {
    expect_same(on_device.first, on_host.first);
    EXPECT_EQ(on_device.second, on_host.second);
  };
  const nn::SgdOptions sgd{.clip = 3};
  const nn::AdamWOptions adamw{.clip = 3};
  expect_equal(optimised<nn::Sgd>(Device::cuda, sgd), optimised<nn::Sgd>(Device::cpu, sgd));
  expect_equal(optimised<nn::AdamW>(Device::cuda, adamw), optimised<nn::AdamW>(Device::cpu, adamw));
}

TEST(CudaNetwork, EmbeddingsAreThoseOfTheCpu) {
  VITRINE_NEEDS_CUDA;
  OwnKernels own;
  auto set = images(3);
  EXPECT_EQ(tools::embed(to(tiny(), Device::cuda), set, true, "").values, tools::embed(tiny(), set, true, "").values);
}

// Image 2 cannot be read; its batch is on the way while the one before is used.
struct Broken : data::MemorySet {
  using MemorySet::MemorySet;
  data::Image image(int64_t i) const override {
    CHECK(i != 2, "broken");
    return MemorySet::image(i);
  }
};
void expect_error_in_turn(Device device) {
  const data::MemorySet whole = images(3);
  const Broken set({whole.image(0), whole.image(1), whole.image(0)}, {0, 0, 1});
  int used = 0;
  std::string error;
  try {
    tools::for_each_batch(set, {{{0}}, {{1}}, {{2}}}, {.height = 32, .width = 32}, device,
                          [&](const data::Batch&, const Tensor&) { ++used; });
  } catch (const Error& e) {
    error = e.what();
  }
  EXPECT_EQ(error, "step 2, image 2: broken");
  EXPECT_EQ(used, 2);
}
TEST(ToolsBatches, AnUnreadableImageIsAnErrorWhenItIsItsTurn) { expect_error_in_turn(Device::cpu); }
TEST(CudaBatches, AnUnreadableImageIsAnErrorWhenItIsItsTurn) {
  VITRINE_NEEDS_CUDA;
  expect_error_in_turn(Device::cuda);
}

TEST(CudaIjb, PoolingAndScoresHaveTheBitsOfTheCpu) {
  VITRINE_NEEDS_CUDA;
  OwnKernels own;
  const tools::IjbBenchmark b = tools::synthetic_ijb_benchmark(5, 4);
  const Model host = smallest(), device = to(host, Device::cuda);
  for (const eval::Pooling pooling : {eval::Pooling{true, true, true}, {false, false, false}}) {
    tools::IjbOptions o;
    o.pooling = pooling, o.bootstrap = 0;
    const auto sums = tools::pool_by_model(device, b, o, "").sums;
    EXPECT_EQ(sums.rows, tools::pool_by_model(host, b, o, "").sums.rows) << eval::name(pooling);
    EXPECT_EQ(tools::template_scores(sums, b.pairs.all, Device::cuda), eval::template_scores(sums, b.pairs.all));
    const auto on_device = tools::evaluate_ijb(&device, b, o, "", 1), on_host = tools::evaluate_ijb(&host, b, o, "", 1);
    EXPECT_EQ(tools::to_json(on_device), tools::to_json(on_host));
  }
}

// Faces that cannot be read, and a medium whose number is 0.
TEST(CudaIjb, PoolsWhatTheCpuPools) {
  VITRINE_NEEDS_CUDA;
  OwnKernels own;
  struct Torn : data::Dataset {
    std::shared_ptr<const data::Dataset> whole;
    int64_t size() const override { return whole->size(); }
    int64_t label(int64_t i) const override { return whole->label(i); }
    data::Image image(int64_t i) const override {
      CHECK(i % 5 != 0, "torn");
      return whole->image(i);
    }
    std::string name(int64_t i) const override { return whole->name(i); }
  };
  tools::IjbBenchmark b = tools::synthetic_ijb_benchmark(5, 4);
  const auto torn = std::make_shared<Torn>();
  torn->whole = b.images, b.images = torn;
  for (size_t i = 0; i < b.faces.faces.size(); ++i) b.faces.faces[i].media_id = static_cast<int>(i % 2);
  eval::index_faces(b.faces);
  tools::IjbOptions o;
  o.unreadable = data::Unreadable::kSkip;
  const Model host = smallest(), device = to(host, Device::cuda);
  const auto got = tools::pool_by_model(device, b, o, ""), want = tools::pool_by_model(host, b, o, "");
  EXPECT_EQ(got.sums.rows, want.sums.rows);
  EXPECT_EQ(got.skipped, want.skipped);
  EXPECT_GT(got.skipped, 0);
}

TEST(CudaIjb, AnEmbeddingThatIsNotFiniteIsAnError) {
  VITRINE_NEEDS_CUDA;
  Model broken = clone(smallest());
  for (auto& [name, t] : broken.tensors) t.data<float>()[0] = NAN;
  try {
    tools::pool_by_model(to(broken, Device::cuda), tools::synthetic_ijb_benchmark(5, 4), {}, "");
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("an embedding has a value that is not finite"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace vitrine
