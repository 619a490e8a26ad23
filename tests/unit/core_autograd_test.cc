// The reverse walk: what it computes, refuses and gives back. Derivatives of operators are proven case by case in cases_test.cc.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "engine/ops.h"
#include "engine/ops/concat.h"
#include "engine/ops/max_pool.h"

namespace vitrine {
namespace {

Tensor leaf(const std::vector<double>& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v).set_requires_grad(); }
using Doubles = std::vector<double>;

template <class F>
std::string message(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no Error";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(CoreGrad, EveryUseOfAValueAddsItsGradient) {
  Tensor x = leaf({1, 2, 3}), y = add(mul(x, x), add(x, x));
  EXPECT_EQ(grad(sum(y), {x})[0].values(), Doubles({4, 6, 8}));
}

TEST(CoreGrad, ASharedIntermediateIsWalkedOnce) {
  Tensor x = leaf({3}), a = square(x), b = square(a), y = sum(add(mul(a, b), b));  // x^6 + x^4
  EXPECT_EQ(grad(y, {x})[0].values(), Doubles({6 * 243 + 4 * 27}));
}

TEST(CoreGrad, TheSeedIsTheGradientOfTheResult) {
  Tensor x = leaf({1, 2});
  EXPECT_EQ(grad(square(x), {x}, Tensor::from({2}, Doubles{10, -1}))[0].values(), Doubles({20, -4}));
  EXPECT_THROW(grad(square(x), {x}, Tensor::from({3}, Doubles{1, 1, 1})), Error);
}

TEST(CoreGrad, WhatTheResultDoesNotDependOnGetsAnEmptyGradient) {
  Tensor x = leaf({1}), other = leaf({2});
  Tensors g = grad(sum(mul(x, other.detach())), {x, other});
  EXPECT_EQ(g[0].values(), Doubles({2}));
  EXPECT_FALSE(g[1]);
  EXPECT_TRUE(contains(message([&] { grad(Tensor::scalar(1), {x}); }), "grad: nothing that requires a gradient"));
}

TEST(CoreGrad, AnInputChangedAfterItsUseIsNoticed) {
  Tensor x = leaf({1, 2}), y = sum(square(x));
  x.assign(Tensor::from({2}, Doubles{5, 5}));
  EXPECT_TRUE(contains(message([&] { grad(y, {x}); }), "input 0 of square was changed after it was used"));
  Tensor again = sum(square(x));
  EXPECT_EQ(grad(again, {x})[0].values(), Doubles({10, 10})) << "a use after the change is fine";
}

TEST(CoreGrad, AnInputChangedThroughAViewIsNoticedToo) {
  Tensor x = leaf({1, 2}), y = sum(square(x));
  x.view({2, 1}).assign(Tensor::from({2, 1}, Doubles{5, 5}));
  EXPECT_TRUE(contains(message([&] { grad(y, {x}); }), "changed after it was used"));
}

TEST(CoreGrad, AnOutputChangedAfterItWasMadeIsNoticed) {
  Tensor x = leaf({1, 2}), y = sigmoid(x);
  y.assign(Tensor::from({2}, Doubles{100, 100}));
  EXPECT_TRUE(contains(message([&] { grad(y, {x}); }), "output 0 of sigmoid was changed after it was made"));
  Tensor z = square(x);
  z.assign(Tensor::from({2}, Doubles{100, 100}));
  EXPECT_EQ(grad(z, {x})[0].values(), Doubles({2, 4})) << "an output that no gradient reads may change";
}

TEST(CoreGrad, OnlyLeavesHaveAGradientToAskFor) {
  Tensor x = leaf({1, 2}), y = square(x);
  EXPECT_TRUE(contains(message([&] { grad(sum(y), {y}); }), "grad: with respect to f64[2], which is computed"));
}

TEST(CoreGrad, ASeedOfAnotherDtypeIsRefused) {
  Tensor x = leaf({1, 2});
  EXPECT_TRUE(contains(message([&] { grad(square(x), {x}, Tensor::full({2}, 1)); }), "grad: seed f32[2] for a result f64[2]"));
}

TEST(CoreGrad, AHistoryMadeByTwoThreadsIsWalkedInItsOrder) {
  Tensor x = leaf({3}), y = square(x), z;
  std::thread([&] { z = square(y); }).join();
  EXPECT_EQ(grad(sum(z), {x})[0].values(), Doubles({4 * 27}));
}

TEST(CoreGrad, ASecondWalkOverTheSameHistoryIsRefused) {
  Tensor x = leaf({2}), y = sum(square(x));
  grad(y, {x});
  EXPECT_TRUE(contains(message([&] { grad(y, {x}); }), "consumed by an earlier grad()"));
}

TEST(CoreGrad, OperatorsWithoutADerivativeSaySo) {
  Tensor x = leaf({2, 3});
  EXPECT_TRUE(contains(message([&] { grad(max(x), {x}); }), "max is not differentiable"));
}

TEST(CoreNoGrad, LeavesNoHistoryAndEndsWithItsScopeAlsoByAnException) {
  Tensor x = leaf({1});
  {
    NoGrad quiet;
    EXPECT_FALSE(square(x).requires_grad());
    try {
      NoGrad nested;
      throw Error("");
    } catch (const Error&) {
    }
    EXPECT_FALSE(grad_enabled());
  }
  EXPECT_TRUE(square(x).requires_grad());
  EXPECT_FALSE(square(x.detach()).requires_grad());
}

TEST(CoreNoGrad, BindsOnlyItsOwnThread) {
  NoGrad quiet;
  bool other = false;
  std::thread([&] { other = grad_enabled(); }).join();
  EXPECT_TRUE(other);
}

TEST(CoreGrad, MemoryIsReleasedAsTheWalkPasses) {
  const int64_t n = 1 << 16, bytes = n * 4, depth = 20;
  Tensor x = Tensor::full({n}, 1).set_requires_grad();
  int64_t before = memory_use(Device::cpu).live;
  {
    Tensor y = x;
    for (int i = 0; i < depth; ++i) y = square(y);
    y = sum(y);
    int64_t held = memory_use(Device::cpu).live - before;
    EXPECT_GE(held, (depth - 1) * bytes) << "square reads its input: the chain must be held";
    reset_peak(Device::cpu);
    Tensors g = grad(y, {x});
    EXPECT_LE(memory_use(Device::cpu).peak - before, held + 4 * bytes) << "the walk keeps what it has passed";
    EXPECT_LE(memory_use(Device::cpu).live - before, bytes + 64) << "only the gradient and the result stay";
  }
  EXPECT_EQ(memory_use(Device::cpu).live, before);
}

TEST(CoreGrad, ValuesNoDerivativeReadsAreNotHeld) {
  const int64_t n = 1 << 16, bytes = n * 4;
  Tensor x = Tensor::full({n}, 1).set_requires_grad(), one = Tensor::full({1}, 1);
  int64_t before = memory_use(Device::cpu).live;
  Tensor y = x;
  for (int i = 0; i < 20; ++i) y = add(y, one);
  EXPECT_LE(memory_use(Device::cpu).live - before, 2 * bytes);
  EXPECT_EQ(grad(sum(y), {x})[0].values()[0], 1);
}

TEST(CoreGrad, AVeryLongHistoryNeedsNoStack) {
  Tensor x = leaf({1});
  for (bool walk : {false, true}) {
    Tensor y = x;
    for (int i = 0; i < 100000; ++i) y = add_scalar(y, 1e-3);
    if (walk) {
      EXPECT_EQ(grad(y, {x})[0].item(), 1);
    }
    for (int i = 0; i < 100000; ++i) y = mul(y, y);  // a node that reads one tensor twice
  }
}

TEST(CoreApply, ErrorsNameTheOperatorTheShapesAndTheAttributes) {
  std::string text = message([] { add(Tensor::zeros({2, 3}), Tensor::zeros({4, 3})); });
  EXPECT_TRUE(contains(text, "add(f32[2,3], f32[4,3]): ")) << text;
  text = message([] { reshape(Tensor::zeros({2, 3}), {4, -1}); });
  EXPECT_TRUE(contains(text, "reshape(f32[2,3] shape=4,-1): ")) << text;
  text = message([] { mul(Tensor::zeros({2}), Tensor()); });
  EXPECT_TRUE(contains(text, "mul: input 1 is an empty tensor")) << text;
  EXPECT_TRUE(contains(message([] { op_named("conv3d"); }), "unknown operator 'conv3d'"));
}

TEST(CoreGrad, WhatAnElementwiseGradientDoesNotReadIsNotHeld) {
  constexpr int64_t n = 100000, bytes = 8 * n;
  Tensor x = leaf(Doubles(n, 0.5));
  auto held = [&](auto f) {  // beside the result, while it waits for grad()
    int64_t before = memory_use(Device::cpu).live;
    Tensor y = f(mul(x, x));
    int64_t live = memory_use(Device::cpu).live - before;
    EXPECT_EQ(grad(sum(y), {x})[0].numel(), n);
    return live - bytes;
  };
  EXPECT_LT(held([](const Tensor& t) { return relu(t); }), bytes / 2);
  EXPECT_LT(held([](const Tensor& t) { return sigmoid(t); }), bytes / 2);
  EXPECT_LT(held([](const Tensor& t) { return add_scalar(t, 1); }), bytes / 2);
  EXPECT_LT(held([](const Tensor& t) { return mul_scalar(t, 2); }), bytes / 2);
  EXPECT_GE(held([](const Tensor& t) { return square(t); }), bytes) << "its gradient reads x";
}

TEST(CoreGrad, AConvolutionThatReadsBf16WritesItAndSoDoItsGradients) {
  auto fixed = [](Shape s, double step) {
    Tensor t = Tensor::zeros(s);
    for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(std::sin(step * static_cast<double>(i + 1)));
    return t;
  };
  const Tensor x = fixed({2, 9, 9, 4}, 0.7).set_requires_grad(), w = fixed({6, 3, 3, 4}, 1.3).set_requires_grad(),
               g = fixed({2, 9, 9, 6}, 2.1);
  const Conv2dAttrs a(1, 1);
  auto rounded = [](const Tensor& t) { return cast(cast(t.detach(), Dtype::bf16), Dtype::f32); };
  const Tensor y = conv2d(cast(x, Dtype::bf16), w, a);
  EXPECT_EQ(y.dtype(), Dtype::bf16);
  EXPECT_EQ(y.values(), rounded(conv2d(rounded(x), w.detach(), a)).values());
  const Tensors got = grad(sum(mul(cast(y, Dtype::f32), g)), {x, w});
  EXPECT_NE(rounded(g).values(), g.values());
  EXPECT_EQ(got[0].dtype(), Dtype::f32);
  EXPECT_EQ(got[0].values(), rounded(conv2d_grad_x(rounded(g), w.detach(), a, 9, 9)).values());
  EXPECT_EQ(got[1].values(), conv2d_grad_w(rounded(x), rounded(g), a, 3, 3).values());
  EXPECT_THROW(conv2d(x.to(Dtype::f64), w, a), Error);
}

TEST(CoreApply, AttributesFromADamagedFileDoNotPassAsShapes) {
  const int64_t huge = std::numeric_limits<int64_t>::max();
  Tensor x = Tensor::zeros({2, 3}), empty = Tensor::zeros({0, 3});
  EXPECT_THROW(reshape(x, {-2, -3}), Error);
  EXPECT_THROW(reshape(empty, {int64_t{1} << 62, 4}), Error) << "the product wraps round to 0";
  EXPECT_THROW(expand(Tensor::zeros({1}), {huge, huge}), Error);
  EXPECT_THROW(scatter_add(x, Tensor::zeros({2}, Dtype::i64), -1), Error);
  AttrsPtr axes = op_named("sum").attrs();
  parse(*axes, "first=1 count=9223372036854775807");
  EXPECT_THROW(apply(op_named("sum"), axes, {x}), Error) << "first + count wraps round";
}

TEST(CoreApply, PackedCodesAreNotMovedOneByOne) {
  for (Dtype d : {Dtype::u2, Dtype::u3, Dtype::u7}) {
    const Tensor codes = Tensor::zeros({16, 4}, d);
    EXPECT_TRUE(contains(message([&] { transpose(codes, {1, 0}); }), "expected a dtype whose elements can be indexed"));
    EXPECT_TRUE(
        contains(message([&] { gather(codes, Tensor::zeros({2}, Dtype::i64)); }), "expected a dtype whose elements can be indexed"));
  }
}

TEST(CoreApply, AnImageWithoutPixelsHasNoLargest) {
  EXPECT_TRUE(contains(message([] { max_pool(Tensor::zeros({1, 0, 4, 3}), PoolAttrs(2, 1, 1)); }), "an image without pixels along h"));
  EXPECT_TRUE(contains(message([] { max_pool(Tensor::zeros({1, 4, 0, 3}), PoolAttrs(2, 1, 1)); }), "an image without pixels along w"));
  EXPECT_EQ(max_pool(Tensor::zeros({0, 4, 4, 3}), PoolAttrs(2, 1, 1)).shape(), Shape({0, 5, 5, 3})) << "an empty batch";
}

TEST(CoreApply, AConvolutionWithoutChannelsIsRefused) {
  const Tensor x = Tensor::zeros({1, 4, 4, 3}), none = slice(x, 3, 0, 0);
  EXPECT_TRUE(contains(message([&] { conv2d(none, Tensor::zeros({4, 1, 1, 0})); }), "no channels"));
  EXPECT_TRUE(contains(message([&] { conv2d(x, Tensor::zeros({0, 1, 1, 3})); }), "no channels"));
  EXPECT_TRUE(contains(message([&] { conv2d_grad_x(none, Tensor::zeros({0, 1, 1, 3}), {}, 4, 4); }), "no channels"));
  EXPECT_TRUE(contains(message([&] { conv2d_grad_w(x, none, {}, 1, 1); }), "no channels"));
}

// Strides, dilations and paddings as a damaged file may hold them: refused, or computed in the memory of a normal convolution.
TEST(CoreApply, ConvolutionsThatKernelsCannotMultiplyOutAreRefused) {
  const int64_t large = 1 << 20;
  const Tensor x = Tensor::full({1, 4, 4, 16}, 1), w = Tensor::full({16, 2, 2, 16}, 1), each = Tensor::full({16, 2, 2, 1}, 1);
  auto with = [](int64_t stride, int64_t pad, int64_t dilation, int64_t groups = 1) {
    Conv2dAttrs a(stride, pad);
    a.dilation_h = a.dilation_w = dilation, a.groups = groups;
    return a;
  };
  EXPECT_EQ(conv2d(x, w, with(1024, 0, 1)).values(), conv2d(x, w, with(4, 0, 1)).values());
  EXPECT_EQ(conv2d(x, each, with(1024, 0, 1, 16)).values(), conv2d(x, each, with(4, 0, 1, 16)).values());
  for (auto& [a, want] : {std::pair{with(large, 0, 1), "stride 1048576, expected 1 to 1024"},
                          {with(1, 0, 2 * large), "dilation 2097152"},
                          {with(1, large, 1), "the padded input has extent 2097156"},
                          {with(1, large / 4, 1), "a padded image has 274882101264 x 16 elements"}})
    EXPECT_TRUE(contains(message([&, &a = a] { conv2d(x, w, a); }), want)) << message([&, &a = a] { conv2d(x, w, a); });
}

TEST(CoreApply, ADryRunChecksShapesAndRunsNothing) {
  DryRun dry;
  EXPECT_EQ(matmul(Tensor::zeros({2, 3}), Tensor::zeros({3, 5})).shape(), Shape({2, 5}));
  EXPECT_THROW(matmul(Tensor::zeros({2, 3}), Tensor::zeros({4, 5})), Error);
}

}  // namespace
}  // namespace vitrine
