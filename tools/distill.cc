#include "tools/distill.h"

#include <cmath>

#include "engine/graph/rewrite.h"
#include "nn/network.h"
#include "nn/optim.h"
#include "quant/placement.h"
#include "tools/progress.h"

namespace vitrine::tools {

Objective parse_objective(const std::string& name) {
  if (name == "ekd") return Objective::ekd;
  if (name == "mse") return Objective::mse;
  throw Error(cat("objective '", name, "': expected ekd or mse"));
}

namespace {

// Runs graph(i) on batch i = 1, 2, ...
void follow(Model& student, const data::Dataset& set, const data::Batches& batches, const char* what,
            const std::function<Graph(int64_t)>& graph) {
  NoGrad quiet;
  Progress progress(what, static_cast<int64_t>(batches.size()), "batches");
  int64_t i = 0;
  for_each_batch(set, batches, preprocess_of(student), [&](const data::Batch&, const Tensor& pixels) {
    run(graph(++i), student.tensors, {pixels});
    progress.add(1);
  });
}

}  // namespace

void calibrate(Model& student, const data::Dataset& set, const data::Batches& batches, const quant::ObserveAttrs& rule) {
  Graph tracking = quant::with_running_ranges(student.graph, rule);
  follow(student, set, batches, "calibrate", [&](int64_t) { return tracking; });
}

void reestimate_batch_norm(Model& student, const data::Dataset& set, const data::Batches& batches, const quant::ObserveAttrs& rule) {
  CHECK(!with_batch_statistics(student.graph).updates.empty(), "re-estimating BatchNorm: the network has none");
  Graph tracking = quant::with_running_ranges(student.graph, rule);
  follow(student, set, batches, "BatchNorm", [&](int64_t i) { return with_batch_statistics(tracking, 1.0 / static_cast<double>(i)); });
  for (auto& u : tracking.updates) {
    Tensor& range = student.tensors.at(tracking.values[u.state].name);
    range = Tensor::zeros(range.shape(), range.dtype());
  }
}

namespace {

// One step's loss; fills in what is reported. The mean squared error is always reported, whatever is minimised.
Tensor objective(const FinetuneOptions& o, losses::Ekd& ekd, const Tensor& student, const Tensor& teacher,
                 const std::vector<int64_t>& labels, StepMetrics& m) {
  if (o.objective == Objective::mse) {
    Tensor loss = losses::embedding_mse(student, teacher);
    m.loss = m.mse = loss.item();
    return loss;
  }
  auto r = ekd(student, teacher, labels);
  {
    NoGrad quiet;
    m.mse = losses::embedding_mse(student.detach(), teacher).item();
  }
  m.loss = r.loss.item(), m.l_pos = r.l_pos, m.l_neg = r.l_neg, m.positives = r.positives;
  return r.loss;
}

}  // namespace

void finetune(Model& student, const Model& teacher, const data::Dataset& set, const data::Batches& batches, const FinetuneOptions& o,
              const std::function<void(const StepMetrics&)>& after_step) {
  Graph frozen = with_batch_statistics(student.graph), tracking = quant::with_running_ranges(frozen, o.ranges);
  if (o.clipped) frozen = quant::with_clipped_gradients(frozen), tracking = quant::with_clipped_gradients(tracking);
  nn::Sgd optimiser(student.tensors, nn::trainable(student), {o.lr, o.momentum, o.weight_decay, true, o.clip});
  losses::Ekd ekd;
  int64_t images = 0, step = 0;
  for (auto& b : batches) images += static_cast<int64_t>(b.size());
  Progress progress("fine-tune", images);
  for_each_batch(set, batches, preprocess_of(student), [&](const data::Batch& b, const Tensor& pixels) {
    StepMetrics m;
    m.step = ++step, m.images = b.n;
    Tensor target;
    {
      NoGrad quiet;
      target = run(teacher.graph, teacher.tensors, {pixels})[0];
    }
    Tensor embedding = run(step <= o.track_steps ? tracking : frozen, student.tensors, {pixels})[0];
    Tensor loss = objective(o, ekd, embedding, target, b.labels, m);
    embedding = {};
    Tensors gradients = grad(loss, optimiser.parameters());
    m.grad_norm = optimiser.step(gradients);
    CHECK(std::isfinite(m.loss) && std::isfinite(m.grad_norm), "step ", step, ": loss ", m.loss, ", gradient norm ", m.grad_norm,
          ": training diverged");
    if (after_step) after_step(m);
    progress.add(b.n, cat("loss ", m.loss));
  });
  for (const std::string& name : nn::trainable(student)) student.tensors[name].set_requires_grad(false);
}

}  // namespace vitrine::tools
