// The one training loop, for teachers (`train`), students (`quantize`) and the demo: forward, loss, gradient, step. From a checkpoint it
// goes on bit for bit, for all that a step reads is a function of the seed, the step, and what the checkpoint holds.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "data/sampler.h"
#include "losses/distill.h"
#include "losses/head.h"
#include "nn/optim.h"
#include "quant/ops/observe.h"
#include "tools/command.h"
#include "tools/inference.h"

namespace vitrine::tools {

class RunRecord;

inline constexpr const char* kDropoutHelp = "share of the features before the last matrix that a step drops (IResNet)";

// "ekd", "mse", "ce" (a classification head) or a sum: "ekd+ce".
struct ObjectiveOptions {
  std::string terms = "ekd";
  int64_t ce_images = 0;  // ce sees so many of a batch, the first; 0: all
  losses::EkdOptions ekd;
  losses::HeadOptions head;  // classes and dim are filled in
  double ce_weight = 1;
};

struct Recipe {
  ObjectiveOptions objective;
  std::string optimiser = "sgd";  // or adamw
  nn::Schedule schedule{.base = 0.001};
  double momentum = 0.9, weight_decay = 5e-4, clip = 5;  // Nesterov's form; QuantFace's recipe
  int64_t epochs = 1;
  int64_t track_steps = 299;  // ranges follow the activations in steps 1..299, then freeze
  quant::ObserveAttrs ranges = {};
  double dropout = 0;  // before each matrix behind a flatten
  uint64_t dropout_seed = 1;
  bool exact = false;                          // every convolution by the direct sum, none by Winograd
  bool clipped = false;                        // no gradient where an activation lies outside its range
  std::function<void(Tensors&)> penalty = {};  // changes the gradients of nn::trainable() before they are used; those may be empty
  bool replay = true;                          // steps of equal shapes by tools/training_step.h, where a device can
};

struct StepMetrics {
  int64_t step = 0, epoch = 0;
  double loss = 0, mse = 0, l_pos = 0, l_neg = 0, ce = 0, lr = 0;
  std::optional<double> grad_norm;  // none where no gradient was taken
  int64_t positives = 0, images = 0;
  bool replayed = false;
};

Json to_json(const StepMetrics&);

// Where and how often to save; what the run was started with, so that another run's checkpoint is refused.
struct Checkpoint {
  std::string file;  // empty: none
  std::string config;
  int64_t every = 50;  // steps
  bool resume = false;
};

using EpochBatches = std::function<data::Batches(int64_t epoch)>;
using AfterStep = std::function<void(const StepMetrics&)>;

// Trains in training mode (batch statistics, running ranges); the network's tensors change in place. `teacher` may be null where no
// term needs one. Steps count from 1, over all epochs. A rate of 0 throughout takes no gradient: only statistics and ranges follow. Error
// if the loss is no longer finite.
void fit(Model& network, const Model* teacher, const data::Dataset&, const EpochBatches&, const Recipe&, const Checkpoint& = {},
         const AfterStep& = {});

struct Trained {
  int64_t steps = 0, images = 0;
  double loss = 0, seconds = 0;
  double rate() const { return seconds > 0 ? static_cast<double>(images) / seconds : 0; }  // images per second
};
// The same with a checkpoint in the run's directory; each step goes to its metrics. Says how fast it was.
Trained fit(Model& network, const Model* teacher, const data::Dataset&, const EpochBatches&, const Recipe&, RunRecord&,
            int64_t checkpoint_every, bool resume);

bool has_term(const std::string& terms, const std::string& term);

// Before a training in the run's directory: what it resumes, or, if it shall not, that it takes no unfinished run's checkpoint away.
void prepare_run(RunRecord&, bool resume);

// Ranges of the student's activations from these batches, in evaluation mode; no weight changes.
void calibrate(Model& student, const data::Dataset&, const data::Batches&, const quant::ObserveAttrs& = {});

// BatchNorm's running statistics become the means of these batches' statistics in the quantized student, ranges moving along; at few bits
// they are far from the teacher's. Calibrate afterwards: this starts the ranges at (0, 0) again. Error if there is no BatchNorm.
void reestimate_batch_norm(Model& student, const data::Dataset&, const data::Batches&, const quant::ObserveAttrs& = {});

}  // namespace vitrine::tools
