// Fine-tuning a student graph towards its teacher: what `quantize` and `demo` share.
#pragma once
#include <functional>
#include <string>

#include "data/sampler.h"
#include "losses/distill.h"
#include "quant/ops/observe.h"
#include "tools/inference.h"

namespace vitrine::tools {

enum class Objective { ekd, mse };
Objective parse_objective(const std::string&);

struct FinetuneOptions {
  Objective objective = Objective::ekd;
  double lr = 0.001;
  double momentum = 0.9, weight_decay = 5e-4, clip = 5;  // Nesterov; QuantFace's recipe
  int64_t track_steps = 299;                             // ranges follow the activations in steps 1..299, then freeze
  quant::ObserveAttrs ranges = {};
  bool clipped = false;  // no gradient where an activation lies outside its range
};

struct StepMetrics {
  int64_t step = 0;
  double loss = 0, mse = 0, l_pos = 0, l_neg = 0, grad_norm = 0;
  int64_t positives = 0, images = 0;
};

// Ranges of the student's activations from these batches, in evaluation mode; no weight changes.
void calibrate(Model& student, const data::Dataset&, const data::Batches&, const quant::ObserveAttrs& = {});

// BatchNorm's running statistics become the means of these batches' statistics in the quantized student, ranges moving along; at few bits
// they are far from the teacher's. Calibrate afterwards: this starts the ranges at (0, 0) again. Error if there is no BatchNorm.
void reestimate_batch_norm(Model& student, const data::Dataset&, const data::Batches&, const quant::ObserveAttrs& = {});

// One pass over the batches, in training mode (batch statistics); the student's tensors change in place. Steps count from 1.
void finetune(Model& student, const Model& teacher, const data::Dataset&, const data::Batches&, const FinetuneOptions&,
              const std::function<void(const StepMetrics&)>& after_step = {});

}  // namespace vitrine::tools
