// gpu_bench [--tuned] [--only networks|operators|convolutions|pairs|integer] [NETWORK...]: whole networks on the cuda device. A line each:
// images/s of inference, of a training step (classifier head, SGD) and of an EKD step (teacher, w6a6 student, SGD), as they come and
// replayed, at batch 64 and 256, for each precision; pairs/s of IJB-C's scores; median and spread of five repetitions. --only operators:
// where three steps go, by operator. Then integer layers and packed networks (integer.cc). `gpu_bench --device` says which device there is,
// or what is missing. What the same machine's PyTorch does: bench/cuda/pytorch.py.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <vector>

#include "bench/cuda/integer.h"
#include "bench/cuda/timing.h"
#include "bench/layers.h"
#include "engine/core/mode.h"
#include "engine/core/profile.h"
#include "engine/core/rng.h"
#include "engine/graph/fuse.h"
#include "engine/graph/rewrite.h"
#include "engine/ops.h"
#include "losses/distill.h"
#include "losses/head.h"
#include "nn/network.h"
#include "nn/optim.h"
#include "quant/placement.h"
#include "tools/ijb_device.h"
#include "tools/training_step.h"

namespace vitrine::bench {
namespace {

void report(const std::string& what, int64_t items, const char* unit, const Step& step) {
  reset_peak(Device::cuda);
  const Timing t = timing(step);
  std::printf("%-52s %10.1f %s/s  spread %4.1f%%  peak %7.1f MB\n", what.c_str(), static_cast<double>(items) / t.seconds, unit,
              100 * t.spread, static_cast<double>(memory_use(Device::cuda).peak) / 1e6);
  std::fflush(stdout);
}

Tensor pixels(int64_t n) {
  Tensor x = Tensor::empty({{n, 112, 112, 3}, Dtype::f32, Device::cpu});
  Philox rng(1);
  std::generate_n(x.data<float>(), x.numel(), [&] { return static_cast<float>(2 * rng.uniform() - 1); });
  return x.to(Device::cuda);
}
std::vector<int64_t> labels(int64_t n) {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < n; ++i) all.push_back(i / 4);
  return all;
}

constexpr double kRate = 1e-4;

std::shared_ptr<losses::Head> new_head() { return std::make_shared<losses::Head>(losses::HeadOptions{.classes = 5749, .dim = 512}); }

// One network and batch: as it is, and what its training and EKD steps take.
struct Workload {
  Model model, inference_form, student;
  Graph training, tracking;
  Tensor x;
  std::vector<int64_t> own;

  Workload(const std::string& network, int64_t batch)
      : model(to(nn::make_model(network, 1), Device::cuda)),
        inference_form(fused(model)),
        student(quant::quantface(model, quant::parse_bits("w6a6"))),
        training(tools::as_trained(with_batch_statistics(model.graph), Device::cuda)),
        tracking(tools::as_trained(quant::with_running_ranges(with_batch_statistics(student.graph), {}), Device::cuda)),
        x(pixels(batch)),
        own(labels(batch)) {}

  Step inference() const {
    return [this] {
      NoGrad quiet;
      run(inference_form.graph, inference_form.tensors, {x});
    };
  }
  Step training_step(bool replay) const {
    return step(training, clone(model), nullptr, replay, [this, head = new_head()](const Tensor& e, const Tensor&) {
      Tensors g = grad((*head)(e, own), {e, head->rows()});
      head->step(g[1], SgdAttrs{}, kRate);
      return g[0];
    });
  }
  Step ekd_step(bool replay) const {
    return step(
        tracking, clone(student), &inference_form, replay,
        [this, ekd = losses::Ekd()](const Tensor& e, const Tensor& target) mutable { return grad(ekd(e, target, own).loss, {e})[0]; });
  }

 private:
  // gradient_of(embedding, teacher's) is that of the loss.
  template <class Gradient>
  Step step(const Graph& graph, Model trained, const Model* teacher, bool replay, Gradient gradient_of) const {
    struct State {
      Model trained;
      nn::Sgd sgd{trained.tensors, nn::trainable(trained), {.lr = kRate}};
    };
    auto state = std::make_shared<State>(std::move(trained));
    auto work = std::make_shared<tools::TrainingStep>(state->trained.tensors, teacher, state->sgd, tools::TrainingStep::Penalty{}, replay);
    return [this, &graph, state, work, gradient_of]() mutable {
      auto [embedding, target] = work->forward(graph, x);
      work->backward(gradient_of(embedding.set_requires_grad(), target));
    };
  }
};

void measure(const std::string& network, int64_t batch) {
  const Workload w(network, batch);
  const std::string what = cat(network, " b", batch, " ", name(mode().precision), mode().tuned ? " tuned " : " ");
  report(what + "inference", batch, "images", w.inference());
  for (bool replay : {false, true}) {
    if (!replay && (batch > 64 || network != "iresnet18")) continue;  // there the host keeps up
    const std::string how = replay ? ", replayed" : "";
    report(what + "training step" + how, batch, "images", w.training_step(replay));
    report(what + "EKD step" + how, batch, "images", w.ekd_step(replay));
  }
}

// Where the time of three steps goes, by operator: the device is waited for after each.
void measure_operators(const std::string& network, int64_t batch) {
  const Workload w(network, batch);
  for (auto& [what, step] :
       {std::pair{"inferences", w.inference()}, {"training steps", w.training_step(false)}, {"EKD steps", w.ekd_step(false)}}) {
    step();
    Profile profile;
    set_profile(&profile);
    for (int i = 0; i < 3; ++i) step();
    set_profile(nullptr);
    std::printf("three %s, %s b%d %s\n%s", what, network.c_str(), static_cast<int>(batch), name(mode().precision),
                profile_table(profile).c_str());
  }
}

// Every distinct convolution of a network, in its three directions: by cuDNN and by our own kernels.
void measure_convolutions(const std::string& network, int64_t batch) {
  NoGrad quiet;
  for (const Layer& l : layers(network, batch)) {
    const cpu::ConvShape& s = l.shape;
    Conv2dAttrs a;
    a.stride_h = s.stride_h, a.stride_w = s.stride_w, a.pad_h = s.pad_h, a.pad_w = s.pad_w, a.groups = s.groups;
    const Tensor x = Tensor::full({s.n, s.h, s.w, s.c}, 0.5).to(Device::cuda),
                 w = Tensor::full({s.o, s.kh, s.kw, s.group_in()}, 0.5).to(Device::cuda);
    const Tensor g = conv2d(x, w, a);
    const double operations = 2.0 * static_cast<double>(s.y_numel() * s.kh * s.kw * s.group_in());
    for (auto& [direction, step] : {std::pair<const char*, Step>{"forward", [&] { conv2d(x, w, a); }},
                                    {"grad_x", [&] { conv2d_grad_x(g, w, a, s.h, s.w); }},
                                    {"grad_w", [&] { conv2d_grad_w(x, g, a, s.kh, s.kw); }}}) {
      std::printf("%-56s", cat(network, " b", batch, " ", name(mode().precision), " ", describe(l), " ", direction).c_str());
      for (bool libraries : {true, false}) {
        mode().libraries = libraries;
        const Timing t = timing(step, 0.02);
        std::printf("  %s %9.2f us %7.2f TFLOP/s", libraries ? "cuDNN" : "ours", 1e6 * t.seconds, 1e-12 * operations / t.seconds);
      }
      mode().libraries = true;
      std::printf("\n");
    }
  }
}

// Scores of as many pairs as IJB-C has, of templates that mean nothing.
void measure_pairs() {
  eval::Templates unit{512, std::vector<double>(23'124 * 512)};
  Philox rng(2);
  for (double& v : unit.rows) v = rng.uniform() - 0.5;
  std::vector<eval::TemplatePair> pairs(15'658'489);
  for (auto& p : pairs) p.a = static_cast<uint32_t>(rng.below(23'124)), p.b = static_cast<uint32_t>(rng.below(23'124)), p.same = 0;
  report("IJB-C's pairs", static_cast<int64_t>(pairs.size()), "pairs", [&] { tools::template_scores(unit, pairs, Device::cuda); });
}

using Rows = void (*)(const std::string& network, int64_t batch);
void in_every_precision(Rows rows, const std::vector<std::string>& networks, const std::vector<int64_t>& batches,
                        const std::vector<std::string>& precisions) {
  for (const std::string& network : networks)
    for (int64_t batch : batches)
      for (auto precision : {Mode::Precision::f32, Mode::Precision::tf32, Mode::Precision::bf16}) {
        if (std::find(precisions.begin(), precisions.end(), name(precision)) == precisions.end()) continue;
        mode().precision = precision;
        try {
          rows(network, batch);
        } catch (const Error& e) {
          std::printf("%s b%d %s: %s\n", network.c_str(), static_cast<int>(batch), name(precision), e.what());
        }
      }
  mode().precision = Mode::Precision::f32;
}

int run_all(int argc, char** argv) {
  CLI::App app("Whole networks, scores and integer layers on the cuda device.");
  std::vector<std::string> networks{"iresnet18", "iresnet50", "iresnet100"}, only{"pairs", "networks", "integer"};
  std::vector<int64_t> batches{64, 256};
  std::vector<std::string> precisions{"f32", "tf32", "bf16"};
  bool device_only = false;
  app.add_option("networks", networks, "which");
  app.add_option("--only", only, "pairs, networks, operators, convolutions, integer");
  auto* given = app.add_option("--batches", batches, "64 and 256, of integer layers 1 and 64");
  app.add_flag("--tuned", mode().tuned, "cuDNN's plans by measurement");
  app.add_option("--precisions", precisions, "f32, tf32, bf16");
  app.add_flag("--device", device_only, "says which device there is, or what is missing");
  CLI11_PARSE(app, argc, argv);
  std::printf("%s\n", backend(Device::cuda).why.c_str());
  if (device_only) return 0;
  const auto wanted = [&](const char* part) { return std::find(only.begin(), only.end(), part) != only.end(); };
  if (wanted("pairs")) measure_pairs();
  if (wanted("networks")) in_every_precision(measure, networks, batches, precisions);
  if (wanted("operators")) in_every_precision(measure_operators, networks, batches, precisions);
  if (wanted("convolutions")) in_every_precision(measure_convolutions, networks, batches, precisions);
  if (wanted("integer")) integer_rows(networks, given->count() ? batches : std::vector<int64_t>{1, 64});
  return 0;
}

}  // namespace
}  // namespace vitrine::bench

int main(int argc, char** argv) {
  try {
    return vitrine::bench::run_all(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gpu_bench: %s\n", e.what());
    return 1;
  }
}
