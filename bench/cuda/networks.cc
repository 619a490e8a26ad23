// gpu_bench [NETWORK...]: whole networks on the cuda device. A line each: images/s of inference, of a training step (classifier head, SGD)
// and of an EKD step (teacher, w6a6 student, SGD), as they come and replayed, at batch 64 and 256, for each precision; pairs/s of IJB-C's
// scores; median and spread of five repetitions. Then integer layers and packed networks (integer.cc). `gpu_bench --device` says which
// device there is, or what is missing. What the same machine's PyTorch does: bench/cuda/pytorch.py.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "bench/cuda/integer.h"
#include "bench/cuda/timing.h"
#include "engine/core/mode.h"
#include "engine/core/rng.h"
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

// gradient_of(embedding, teacher's) is the loss and its gradient.
template <class Gradient>
void measure_step(const std::string& what, const Graph& graph, Model student, const Model* teacher, bool replay, const Tensor& x,
                  Gradient gradient_of) {
  nn::Sgd sgd(student.tensors, nn::trainable(student), {.lr = kRate});
  tools::TrainingStep step(student.tensors, teacher, sgd, {}, replay);
  reset_peak(Device::cuda);
  report(what, x.shape()[0], "images", [&] {
    auto [embedding, target] = step.forward(graph, x);
    step.backward(gradient_of(embedding.set_requires_grad(), target));
  });
}

void measure(const std::string& network, int64_t batch) {
  const Model m = to(nn::make_model(network, 1), Device::cuda);
  const Tensor x = pixels(batch);
  const auto own = labels(batch);
  const std::string what = cat(network, " b", batch, " ", name(mode().precision), " ");
  reset_peak(Device::cuda);
  report(what + "inference", batch, "images", [&] {
    NoGrad quiet;
    run(m.graph, m.tensors, {x});
  });

  const Graph training = with_batch_statistics(m.graph);
  Model student = quant::quantface(m, quant::parse_bits("w6a6"));
  const Graph tracking = quant::with_running_ranges(with_batch_statistics(student.graph), {});
  for (bool replay : {false, true}) {
    const std::string how = replay ? ", replayed" : "";
    measure_step(what + "training step" + how, training, clone(m), nullptr, replay, x,
                 [&, head = new_head()](const Tensor& e, const Tensor&) {
                   Tensors g = grad((*head)(e, own), {e, head->rows()});
                   head->step(g[1], SgdAttrs{}, kRate);
                   return g[0];
                 });
    measure_step(
        what + "EKD step" + how, tracking, clone(student), &m, replay, x,
        [&, ekd = losses::Ekd()](const Tensor& e, const Tensor& target) mutable { return grad(ekd(e, target, own).loss, {e})[0]; });
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

int run_all(std::vector<std::string> networks) {
  if (networks.empty()) networks = {"iresnet18", "iresnet50", "iresnet100"};
  std::printf("%s\n", backend(Device::cuda).why.c_str());
  if (networks[0] == "--device") return 0;
  measure_pairs();
  for (auto precision : {Mode::Precision::f32, Mode::Precision::tf32, Mode::Precision::bf16})
    for (const std::string& network : networks)
      for (int64_t batch : {64, 256}) {
        mode().precision = precision;
        try {
          measure(network, batch);
        } catch (const Error& e) {
          std::printf("%s b%d %s: %s\n", network.c_str(), static_cast<int>(batch), name(precision), e.what());
        }
      }
  mode().precision = Mode::Precision::f32;
  integer_rows(networks);
  return 0;
}

}  // namespace
}  // namespace vitrine::bench

int main(int argc, char** argv) {
  try {
    return vitrine::bench::run_all({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gpu_bench: %s\n", e.what());
    return 1;
  }
}
