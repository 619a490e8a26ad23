// A graph made ready to run many times with one batch size: what run() gives, bit for bit, with everything decided beforehand. Outputs of
// nodes lie in buffers that values share whose lives do not overlap, so that a run allocates no tensor. For inference: no gradients, no
// recorder, no updates.
#pragma once
#include "engine/graph/graph.h"

namespace vitrine {

class Session {
 public:
  Session(const Graph&, const TensorMap&, int64_t batch);  // Error as run() gives it

  // Of the graph's outputs; valid until the next run. `watch`, if given, sees every node's outputs right after its kernel.
  const Tensors& run(const Tensors& inputs, const Watch& watch = {});
  Session(const Session&) = delete;
  int64_t bytes() const { return bytes_; }  // of the shared buffers

 private:
  struct Step {
    const GraphNode* node;
    Kernel kernel;  // null: a view, which needs no work
    Tensors in, out;
  };
  void plan(const TensorMap&, int64_t batch);

  Graph graph_;
  std::vector<Step> steps_;
  Tensors inputs_, outputs_;  // inputs are copied here
  int64_t bytes_ = 0;
};

}  // namespace vitrine
