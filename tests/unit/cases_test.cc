// What is proven for every operator case (tests/case.h), and that no operator goes without one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "engine/core/parallel.h"
#include "engine/cpu/guard.h"
#include "engine/cpu/isa.h"
#include "engine/graph/graph.h"
#include "engine/ops.h"
#include "tests/case.h"

namespace vitrine {

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

namespace {

Tensor in_dtype(const std::vector<float>& v, Shape shape, Dtype d) { return Tensor::from(shape, v).to(d); }

}  // namespace

Tensor Maker::uniform(Shape shape, double low, double high) {
  std::vector<float> v(shape.numel());
  for (float& x : v) x = static_cast<float>(low + (high - low) * rng_.uniform());
  return in_dtype(v, shape, dtype_);
}
Tensor Maker::away_from_zero(Shape shape, double gap) {
  std::vector<float> v(shape.numel());
  for (float& x : v) {
    double u = 2 * rng_.uniform() - 1;
    x = static_cast<float>(u + (u < 0 ? -gap : gap));
  }
  return in_dtype(v, shape, dtype_);
}
Tensor Maker::distinct(Shape shape) {
  std::vector<float> v(shape.numel());
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i) / 16 - static_cast<float>(v.size()) / 32;
  for (size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[rng_.below(i)]);
  return in_dtype(v, shape, dtype_);
}
Tensor Maker::integers(Shape shape, int64_t low, int64_t high) {
  std::vector<float> v(shape.numel());
  for (float& x : v) x = static_cast<float>(low + static_cast<int64_t>(rng_.below(high - low + 1)));
  return in_dtype(v, shape, dtype_);
}
Tensor Maker::indices(Shape shape, int64_t below) {
  std::vector<int64_t> v(shape.numel());
  for (int64_t& x : v) x = static_cast<int64_t>(rng_.below(below));
  return Tensor::from(shape, v);
}
Tensor Maker::constant(Shape shape, double value) { return Tensor::full(shape, value, dtype_); }

namespace {

constexpr uint64_t kSeed = 7;
constexpr double kStep = 1e-6, kBound = 1e-6;  // of every gradient check

bool is_real(const Tensor& t) { return t.dtype() == Dtype::f32 || t.dtype() == Dtype::f64; }

Tensors inputs(const Case& c, Dtype d) {
  Maker make(d, kSeed);
  return c.inputs(make);
}

// sum over outputs of <output, fixed random direction>
Tensor project(const Tensors& out) {
  Tensor total;
  uint64_t stream = 100;
  for (const Tensor& y : out) {
    if (!is_real(y)) continue;
    Maker make(y.dtype(), stream++);
    Tensor term = sum(mul(y, make.uniform(y.shape())));
    total = total ? add(total, term) : term;
  }
  return total;
}

using Bytes = std::vector<unsigned char>;
Bytes bytes(const Tensors& all) {
  Bytes b;
  for (const Tensor& t : all) {
    if (!t) continue;
    auto* p = static_cast<const unsigned char*>(t.raw());
    b.insert(b.end(), p, p + t.meta().nbytes());
  }
  return b;
}

// Outputs and gradients in f32.
Bytes everything(const Case& c) {
  Tensors in = inputs(c, Dtype::f32), wrt;
  for (Tensor& t : in)
    if (is_real(t)) wrt.push_back(t.set_requires_grad());
  Tensors out = c.run(in);
  Bytes b = bytes(out);
  if (c.differentiable) {
    Bytes g = bytes(grad(project(out), wrt));
    b.insert(b.end(), g.begin(), g.end());
  }
  return b;
}

class OpCase : public ::testing::TestWithParam<size_t> {
 protected:
  const Case& c() const { return cases()[GetParam()]; }
};

TEST_P(OpCase, GradientIsTheDerivative) {
  if (!c().differentiable) return;
  Tensors in = inputs(c(), Dtype::f64), wrt;
  for (Tensor& t : in)
    if (is_real(t)) wrt.push_back(t.set_requires_grad());
  Tensors analytic = grad(project(c().run(in)), wrt);
  bool identity = op_named(c().op).surrogate == Surrogate::identity_of_first;
  NoGrad quiet;
  for (size_t k = 0; k < wrt.size(); ++k) {
    auto g = analytic[k] ? analytic[k].values() : std::vector<double>(wrt[k].numel(), 0.0);
    if (identity) {  // a declared straight-through estimator: dL/dx0 is dL/dy itself, nothing reaches the others
      Maker make(Dtype::f64, 100);
      auto want = k == 0 ? make.uniform(wrt[0].shape()).values() : std::vector<double>(g.size(), 0.0);
      EXPECT_EQ(g, want) << "input " << k;
      continue;
    }
    auto x = wrt[k].data<double>();
    for (int64_t i = 0; i < wrt[k].numel(); ++i) {
      double keep = x[i];
      x[i] = keep + kStep;
      double up = project(c().run(in)).item();
      x[i] = keep - kStep;
      double down = project(c().run(in)).item();
      x[i] = keep;
      double numeric = (up - down) / (2 * kStep);
      ASSERT_NEAR(g[i], numeric, kBound * std::max(1.0, std::abs(numeric))) << "input " << k << " element " << i;
    }
  }
}

// |f32 - f64| <= eps * terms * magnitude, with the magnitude of the same call on absolute values.
TEST_P(OpCase, SinglePrecisionAgreesWithDouble) {
  Tensors out32 = c().run(inputs(c(), Dtype::f32)), out64 = c().run(inputs(c(), Dtype::f64));
  Tensors positive = inputs(c(), Dtype::f64);
  for (Tensor& t : positive)
    if (is_real(t)) t = abs(t);
  Tensors magnitude = c().run(positive);
  ASSERT_EQ(out32.size(), out64.size());
  int64_t zeros = 0, total = 0;
  for (size_t k = 0; k < out32.size(); ++k) {
    ASSERT_EQ(out32[k].shape(), out64[k].shape());
    auto a = out32[k].values(), b = out64[k].values(), m = magnitude[k].values();
    for (size_t i = 0; i < a.size(); ++i) {
      if (c().exact) {
        ASSERT_EQ(a[i], static_cast<double>(static_cast<float>(b[i]))) << "output " << k << " element " << i;
      }
      double bound = 0x1p-23 * static_cast<double>(c().terms) * std::max({std::abs(m[i]), std::abs(b[i]), 1e-30});
      if (std::isfinite(bound)) {
        ASSERT_NEAR(a[i], b[i], bound) << "output " << k << " element " << i;
      }
      zeros += b[i] == 0, ++total;
    }
  }
  EXPECT_LT(zeros, total - total / 10 + (total == 0)) << "mostly zeros: this case proves nothing";
}

TEST_P(OpCase, BitsAreTheSameAgainWithFourThreadsAndOnEveryInstructionSet) {
  int before = threads();
  set_threads(1);
  Bytes first = everything(c());
  EXPECT_EQ(first, everything(c())) << "second run";
  set_threads(4);
  EXPECT_EQ(first, everything(c())) << "4 threads";
  for (auto level : {cpu::Isa::plain, cpu::Isa::avx2, cpu::Isa::avx512}) {
    cpu::set_isa(level);
    EXPECT_EQ(first, everything(c())) << cpu::name(level);
  }
  cpu::set_isa(cpu::best_isa());
  set_threads(before);
  EXPECT_EQ(cpu::guard_damage(), 0) << "bytes outside a buffer were written";
}

TEST_P(OpCase, TracePrintParseAndRunGiveTheSameBits) {
  Tensors in = inputs(c(), Dtype::f32);
  std::vector<NamedTensor> named;
  TensorMap tensors;
  for (size_t i = 1; i < in.size(); ++i) {
    named.push_back({cat("in", i), in[i], Value::Kind::parameter});
    tensors[cat("in", i)] = in[i];
  }
  Tensors eager = c().run(in);
  Graph g = trace(named, in[0], [&](const Tensor& x) {
    Tensors call = in;
    call[0] = x;
    return c().run(call)[0];
  });
  Graph again = parse_graph(print(g));
  EXPECT_EQ(print(again), print(g));
  EXPECT_EQ(bytes({run(again, tensors, {in[0]})[0]}), bytes({eager[0]}));
}

INSTANTIATE_TEST_SUITE_P(, OpCase, ::testing::Range<size_t>(0, cases().size()), [](const auto& info) {
  std::string name = cases()[info.param].op + "_" + cases()[info.param].label;
  for (char& ch : name)
    if (!std::isalnum(static_cast<unsigned char>(ch))) ch = '_';
  return name + "_" + std::to_string(info.param);
});

TEST(Operators, EveryOneIsReachedByACaseAndHasACpuKernel) {
  std::set<std::string> reached;
  Recorder record = [&](const OpDef& op, const AttrsPtr&, const Tensors&, const Tensors&) { reached.insert(op.name); };
  set_recorder(&record);
  for (const Case& c : cases()) everything(c);
  set_recorder(nullptr);
  for (const OpDef* op : all_ops()) {
    EXPECT_TRUE(reached.count(op->name)) << op->name << " has no case in tests/cases";
    EXPECT_TRUE(op->view || op->kernel[0]) << op->name << " has no cpu kernel";
  }
}

}  // namespace
}  // namespace vitrine
