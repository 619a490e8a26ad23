// Optimisers, as PyTorch defines them: SGD with momentum, Nesterov and weight decay, and AdamW; both with clipping. And
// learning rates.
#pragma once
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/ops/optimiser.h"

namespace vitrine::nn {

class Optimiser {
 public:
  virtual ~Optimiser() = default;
  // The parameters' values as grad() wants them, in the order of the names.
  const Tensors& parameters() const { return parameters_; }
  // Applies gradients (a parameter whose gradient is empty stays as it is); returns their norm before clipping.
  double step(const Tensors& gradients);
  void set_lr(double lr) { lr_ = lr; }
  // To resume: tensors called "<parameter>.<slot>", none for a parameter that never had a gradient. Error if they are another network's.
  TensorMap state() const;
  void load_state(const TensorMap&);

  // A step in parts, for who records the device's (engine/core/queue.h): begin() is the host's, for the gradients that the last step() had;
  // queue() the device's alone, and an Error if other gradients are empty than were then; norm() waits for it.
  void begin();
  void queue(const Tensors& gradients);
  double norm() const;
  int64_t layout() const { return layout_; }  // changes when what was recorded of queue() is no longer right

 protected:
  // Marks the named tensors of `tensors` for autograd; steps update them in place. `slots`: what is kept for each.
  Optimiser(TensorMap& tensors, std::vector<std::string> names, std::vector<std::string> slots, double lr, double clip);
  // The operator that takes a step, its attributes, and its rates at the parameters' step 1, 2, ...
  virtual const char* op() const = 0;
  virtual AttrsPtr attrs(bool first) const = 0;
  virtual std::vector<double> rates(int64_t taken) const = 0;
  virtual bool counts_steps() const { return false; }  // the state has a slot more, "step"
  double lr_;

 private:
  struct Group {  // parameters that have taken equally many steps
    int64_t taken;
    std::vector<size_t> members;
    Tensor rates;
  };
  void regroup(const Tensors& gradients);
  double clip_;
  std::vector<std::string> names_, slots_;
  Tensors parameters_;
  std::vector<Tensors> state_;  // of a parameter, a tensor for each slot; empty at first
  std::vector<int64_t> taken_;  // steps
  std::vector<Group> groups_;   // of the last step
  Tensor norm_;                 // f64 [2], of gradient_norm
  int64_t layout_ = 0;
};

struct SgdOptions {
  double lr = 0.1, momentum = 0.9, weight_decay = 5e-4;
  bool nesterov = true;
  double clip = 0;  // global L2 norm of the gradient, 0: none; coefficient clip / (norm + 1e-6) where that is below 1
};

class Sgd : public Optimiser {  // slot: velocity
 public:
  Sgd(TensorMap& tensors, std::vector<std::string> names, SgdOptions);

 private:
  const char* op() const override { return "sgd_step"; }
  AttrsPtr attrs(bool first) const override;
  std::vector<double> rates(int64_t) const override { return {lr_}; }
  SgdOptions options_;
};

// Loshchilov and Hutter, ICLR 2019. w' = (1 - lr decay) w - lr / (1 - beta1^t) m' / (sqrt(v') / sqrt(1 - beta2^t) + eps).
struct AdamWOptions {
  double lr = 1e-3, weight_decay = 0.1, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double clip = 0;
};

class AdamW : public Optimiser {  // slots: exp_avg (m), exp_avg_sq (v), step (t)
 public:
  AdamW(TensorMap& tensors, std::vector<std::string> names, AdamWOptions);

 private:
  const char* op() const override { return "adamw_step"; }
  AttrsPtr attrs(bool first) const override;
  std::vector<double> rates(int64_t taken) const override;
  bool counts_steps() const override { return true; }
  AdamWOptions options_;
};

double norm(const Tensors&);  // global L2 norm (engine/ops/optimiser.h); empty tensors count nothing

// Learning rates as functions of the step.
struct Schedule {
  enum class Kind : uint8_t { constant, polynomial, cosine, steps } kind = Kind::constant;
  double base = 0.1;
  int64_t warmup = 0;               // steps 1 .. warmup: base * step / warmup. Step 0 has the whole base, as InsightFace's scheduler does.
  double power = 1;                 // polynomial: base * (1 - progress)^power, progress = (step - warmup) / (total - warmup)
  double floor = 0;                 // cosine: from base down to this
  std::vector<int64_t> milestones;  // steps: the rate is multiplied by `factor` from each of these steps on
  double factor = 0.1;
};

double learning_rate(const Schedule&, int64_t step, int64_t total);  // step 0 .. total; after the last the rate stays

}  // namespace vitrine::nn
