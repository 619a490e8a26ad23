#include "tools/training_step.h"

#include <cstdio>
#include <utility>

#include "engine/core/mode.h"
#include "engine/graph/rewrite.h"
#include "quant/ops/norm_chain.h"

namespace vitrine::tools {

// Winograd on a device in strict f32 only: otherwise cuDNN has tensor cores.
Graph as_trained(const Graph& g, Device device, bool exact) {
  const Mode::Precision precision = device == Device::cpu ? Mode::Precision::f32 : mode().precision;
  if (precision == Mode::Precision::bf16) return quant::with_norm_chains(with_bf16_convolutions(g));
  return quant::with_norm_chains(precision == Mode::Precision::f32 && !exact ? with_winograd(g) : g);
}

TrainingStep::TrainingStep(const TensorMap& student, const Model* teacher, nn::Optimiser& optimiser, Penalty penalty, bool replay)
    : student_(student),
      teacher_(teacher),
      optimiser_(optimiser),
      penalty_(std::move(penalty)),
      may_replay_(replay && !student.empty() && queue_of(student.begin()->second.device()).replay) {}

TrainingStep::Result TrainingStep::compute(const Graph& graph, const Tensor& pixels) const {
  Result r;
  if (teacher_) {
    NoGrad quiet;
    r.teacher = run(teacher_->graph, teacher_->tensors, {pixels})[0];
  }
  r.embedding = run(graph, student_, {pixels})[0];
  return r;
}

Tensors TrainingStep::gradients(const Tensor& embedding, const Tensor& gradient) const {
  Tensors g = grad(embedding, optimiser_.parameters(), gradient);
  if (penalty_) penalty_(g);
  return g;
}

TrainingStep::Result TrainingStep::forward(const Graph& graph, const Tensor& pixels) {
  const bool again = graph_ == &graph && shape_ == pixels.shape();
  graph_ = &graph, shape_ = pixels.shape();
  if (!again || layout_ != optimiser_.layout()) drop_recording();  // whose memory serves this step
  if (!replay_ && may_replay_ && again && refused_ != &graph) record(graph, pixels);
  replaying_ = replay_ != nullptr;
  if (replaying_) {
    pixels_.assign(pixels);
    replay_->run(0);
    last_ = recorded_;
  } else {
    last_ = {};  // frees its history before the next one is made
    last_ = compute(graph, pixels);
  }
  return {last_.embedding.detach(), last_.teacher};
}

double TrainingStep::backward(const Tensor& gradient) {
  if (!replaying_) return optimiser_.step(gradients(std::exchange(last_, {}).embedding, gradient));
  gradient_.assign(gradient);
  optimiser_.begin();
  replay_->run(1);
  return optimiser_.norm();
}

void TrainingStep::drop_recording() {
  last_ = recorded_ = {};  // before their memory is anybody's
  replay_.reset();
}

// The step before had this shape, so algorithms are chosen and the optimiser has its state: what is left is the same in every step.
void TrainingStep::record(const Graph& graph, const Tensor& pixels) {
  try {
    replay_ = queue_of(pixels.device()).replay();
    pixels_ = pixels.clone();
    replay_->record([&] { recorded_ = compute(graph, pixels_); });
    gradient_ = Tensor::empty(recorded_.embedding.meta());
    if (recorded_.embedding.requires_grad()) replay_->record([&] { optimiser_.queue(gradients(recorded_.embedding, gradient_)); });
    layout_ = optimiser_.layout();
  } catch (const Error& e) {
    std::fprintf(stderr, "training steps are not replayed: %s\n", e.what());
    refused_ = &graph;
    drop_recording();
  }
}

}  // namespace vitrine::tools
