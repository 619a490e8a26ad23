#include "nn/module.h"

namespace vitrine::nn {
namespace {

struct Collect : Visitor {
  std::string prefix;
  std::vector<NamedMember> found;
  void tensor(const std::string& name, Tensor& t, Role role, bool trainable) override {
    found.push_back({prefix + name, &t, role, trainable});
  }
  void child(const std::string& name, Module& m) override {
    std::string before = prefix;
    prefix += name + ".";
    m.members(*this);
    prefix = before;
  }
};

struct EachModule : Visitor {
  explicit EachModule(std::function<void(Module&)> f) : visit(std::move(f)) {}
  std::function<void(Module&)> visit;
  void tensor(const std::string&, Tensor&, Role, bool) override {}
  void child(const std::string&, Module& m) override { visit(m); }
};

}  // namespace

void Module::train(bool on) {
  training_ = on;
  EachModule each([&](Module& m) { m.train(on); });
  members(each);
}

std::vector<NamedMember> named_members(Module& m) {
  Collect c;
  m.members(c);
  return c.found;
}

bool is_buffer(Role r) { return r == Role::running_mean || r == Role::running_var || r == Role::batches; }

Conv2d::Conv2d(int64_t in, int64_t out, int64_t kernel_h, int64_t kernel_w, int64_t stride, int64_t pad, int64_t groups)
    : weight(Tensor::zeros({out, kernel_h, kernel_w, in / groups})) {
  attrs.stride_h = attrs.stride_w = stride;
  attrs.pad_h = attrs.pad_w = pad;
  attrs.groups = groups;
}

BatchNorm::BatchNorm(int64_t channels, bool train_gamma)
    : train_gamma(train_gamma),
      gamma(Tensor::full({channels}, 1)),
      beta(Tensor::zeros({channels})),
      mean(Tensor::zeros({channels})),
      var(Tensor::full({channels}, 1)),
      batches(Tensor::zeros({}, Dtype::i64)) {}

Tensor BatchNorm::forward(const Tensor& x) {
  if (!training()) return batch_norm(x, gamma, beta, mean, var, kEps);
  auto t = batch_norm_train(x, gamma, beta, mean, var, kEps, kMomentum);
  mean.assign(t.running_mean);
  var.assign(t.running_var);
  batches.assign(Tensor::full({}, static_cast<double>(batches.item<int64_t>() + 1), Dtype::i64));
  return t.y;
}

void BatchNorm::members(Visitor& v) {
  v.tensor("weight", gamma, Role::gamma, train_gamma);
  v.tensor("bias", beta, Role::beta, true);
  v.tensor("running_mean", mean, Role::running_mean, false);
  v.tensor("running_var", var, Role::running_var, false);
  v.tensor("num_batches_tracked", batches, Role::batches, false);
}

Linear::Linear(int64_t in, int64_t out, bool with_bias) : weight(Tensor::zeros({out, in})) {
  if (with_bias) bias = Tensor::zeros({out});
}

}  // namespace vitrine::nn
