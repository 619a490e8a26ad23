// Module: a network part that owns tensors and can run. It lists its members once, and names, loading, counting, initialisation and
// tracing all read that list. Names are those of PyTorch's state_dict for the same network: "layer1.0.conv1.weight".
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/ops.h"

namespace vitrine::nn {

class Module;

// How a tensor starts: a rule by name and not by layer type, so that a state_dict key alone decides.
enum class Role : uint8_t { conv_weight, linear_weight, linear_bias, gamma, beta, running_mean, running_var, slope, batches };

struct Visitor {
  virtual void tensor(const std::string& name, Tensor&, Role, bool trainable) = 0;
  virtual void child(const std::string& name, Module&) = 0;
  virtual ~Visitor() = default;
};

class Module {
 public:
  virtual ~Module() = default;
  virtual Tensor forward(const Tensor& x) = 0;
  virtual void members(Visitor&) = 0;
  // Eager training: BatchNorm uses the batch's statistics and updates the running ones. Graphs are traced with it off.
  void train(bool on);
  bool training() const { return training_; }

 private:
  bool training_ = false;
};

struct NamedMember {
  std::string name;
  Tensor* tensor;
  Role role;
  bool trainable;
};
std::vector<NamedMember> named_members(Module&);  // in state_dict order
bool is_buffer(Role);

// The layers. Weights are O,kh,kw,I; images N,H,W,C.
struct Conv2d : Module {
  Conv2d(int64_t in, int64_t out, int64_t kernel_h, int64_t kernel_w, int64_t stride, int64_t pad, int64_t groups = 1);
  Tensor forward(const Tensor& x) override { return conv2d(x, weight, attrs); }
  void members(Visitor& v) override { v.tensor("weight", weight, Role::conv_weight, true); }
  Conv2dAttrs attrs;
  Tensor weight;
};

struct BatchNorm : Module {
  explicit BatchNorm(int64_t channels, bool train_gamma = true);
  Tensor forward(const Tensor& x) override;
  void members(Visitor&) override;
  static constexpr double kEps = 1e-5, kMomentum = 0.1;
  bool train_gamma;
  Tensor gamma, beta, mean, var, batches;  // batches: i64 scalar, PyTorch's num_batches_tracked
};

struct PRelu : Module {
  explicit PRelu(int64_t channels) : slope(Tensor::full({channels}, 0.25)) {}
  Tensor forward(const Tensor& x) override { return prelu(x, slope); }
  void members(Visitor& v) override { v.tensor("weight", slope, Role::slope, true); }
  Tensor slope;
};

struct Linear : Module {
  Linear(int64_t in, int64_t out, bool with_bias = true);
  Tensor forward(const Tensor& x) override { return linear(x, weight, bias); }
  void members(Visitor& v) override {
    v.tensor("weight", weight, Role::linear_weight, true);
    if (bias) v.tensor("bias", bias, Role::linear_bias, true);
  }
  Tensor weight, bias;  // [out, in], [out] or empty
};

// Children called "0", "1", ... one after the other.
struct Sequential : Module {
  Tensor forward(const Tensor& x) override {
    Tensor y = x;
    for (auto& c : children) y = c->forward(y);
    return y;
  }
  void members(Visitor& v) override {
    for (size_t i = 0; i < children.size(); ++i) v.child(std::to_string(i), *children[i]);
  }
  template <class M, class... Args>
  Sequential& add(Args&&... args) {
    children.push_back(std::make_unique<M>(std::forward<Args>(args)...));
    return *this;
  }
  std::vector<std::unique_ptr<Module>> children;
};

}  // namespace vitrine::nn
