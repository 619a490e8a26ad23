// What a device does in a training step but for the loss: the teacher's and the student's forward; the gradient and the optimiser. On a
// device that can, both halves are recorded once their shapes have been seen, and then replayed (engine/core/queue.h) until the shapes
// change, with the same bits. The loss between them is not: EKD picks its pairs by label and by rank, so its shapes change from batch to
// batch, and reads thresholds and counts on the host.
#pragma once
#include <functional>
#include <memory>

#include "engine/core/queue.h"
#include "engine/graph/graph.h"
#include "nn/optim.h"

namespace vitrine::tools {

// The graph as steps compute it on this device in the mode's precision: fewer passes over memory; convolutions by Winograd where it wins,
// unless sums shall be `exact`; or reading bf16.
Graph as_trained(const Graph&, Device, bool exact = false);

class TrainingStep {
 public:
  using Penalty = std::function<void(Tensors&)>;  // changes the gradients before they are used
  // All must outlive this. `teacher` may be null.
  TrainingStep(const TensorMap& student, const Model* teacher, nn::Optimiser& optimiser, Penalty penalty, bool replay);

  // Embeddings of the student by this graph, and of the teacher; without history. Those of the next call overwrite them.
  struct Result {
    Tensor embedding, teacher;
  };
  Result forward(const Graph&, const Tensor& pixels);
  // The optimiser's step for the gradient of the last embedding; returns the gradients' norm.
  double backward(const Tensor& gradient);
  bool replays() const { return replaying_; }  // whether the last forward() did

 private:
  Result compute(const Graph&, const Tensor& pixels) const;  // with the student's history
  Tensors gradients(const Tensor& embedding, const Tensor& gradient) const;
  void record(const Graph&, const Tensor& pixels);
  void drop_recording();

  const TensorMap& student_;
  const Model* teacher_;
  nn::Optimiser& optimiser_;
  Penalty penalty_;
  bool may_replay_;
  const Graph* refused_ = nullptr;  // which cannot be recorded
  const Graph* graph_ = nullptr;    // of the last step, and its shape
  Shape shape_;
  Result last_;
  // What is recorded: 0, from pixels_ to recorded_; 1, from gradient_ to the parameters.
  std::unique_ptr<Replay> replay_;
  Tensor pixels_, gradient_;
  Result recorded_;
  int64_t layout_ = 0;  // of the optimiser
  bool replaying_ = false;
};

}  // namespace vitrine::tools
