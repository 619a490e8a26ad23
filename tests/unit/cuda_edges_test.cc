// The device where the operator cases (cuda_test.cc) do not go: faults, special values, ends of ranges, more rows than a launch has blocks.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/ops.h"
#include "engine/ops/classify.h"
#include "engine/ops/image_input.h"
#include "engine/ops/max_pool.h"
#include "engine/ops/reduce.h"
#include "engine/ops/templates.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/observe.h"
#include "quant/ops/quantize.h"
#include "tests/case.h"
#include "tests/cuda.h"

namespace vitrine {
namespace {

constexpr uint64_t kSeed = 7;

// To the bit, but for which NaN it is.
void expect_same(const Tensor& got, const Tensor& want, const std::string& what) {
  const auto a = got.values(), b = want.values();
  for (size_t i = 0; i < b.size(); ++i)
    EXPECT_TRUE(std::isnan(b[i]) ? std::isnan(a[i]) : a[i] == b[i] && std::signbit(a[i]) == std::signbit(b[i]))
        << what << " element " << i << ": " << a[i] << ", the cpu has " << b[i];
}

TEST(CudaFaults, AnIndexOutOfRangeIsThrownWhenTheHostNextWaits) {
  VITRINE_NEEDS_CUDA;
  auto on = [](const Tensor& t) { return t.to(Device::cuda); };
  Tensor x = on(Tensor::zeros({4, 3})), four = on(Tensor::from({2}, std::vector<int64_t>{1, 4}));
  Tensor below = on(Tensor::from({2}, std::vector<int64_t>{1, -1})), three = on(Tensor::from({2}, std::vector<int64_t>{1, 3}));
  auto fails_with = [](const char* text, auto&& call) {
    try {
      call().values();
      ADD_FAILURE() << "expected: " << text;
    } catch (const Error& e) {
      EXPECT_STREQ(e.what(), text);
    }
  };
  fails_with("gather: index 4: expected 0 to 3", [&] { return gather(x, four); });
  fails_with("gather: index -1: expected 0 to 3", [&] { return gather(x, below); });
  fails_with("scatter_add: index 4: expected 0 to 3", [&] { return scatter_add(on(Tensor::zeros({2, 3})), four, 4); });
  fails_with("label 3: expected 0 to 2", [&] { return cross_entropy(on(Tensor::zeros({2, 3})), three); });
  fails_with("label 3: expected 0 to 2", [&] { return margin(on(Tensor::zeros({2, 3})), three, {}, false); });
  for (const auto& [lo, hi] : {std::pair{1.f, 2.f}, {-2.f, -1.f}, {-INFINITY, 1.f}, {0.f, INFINITY}, {NAN, 1.f}, {0.f, NAN}})
    fails_with("range of codes: expected finite ends round 0", [&] {
      return quant::quantize(x, on(Tensor::from({2}, std::vector<float>{lo, hi})), 8);
    });
  const auto list = [&](const std::vector<int64_t>& v) { return on(Tensor::from({static_cast<int64_t>(v.size())}, v)); };
  fails_with("gather: index 4: expected 0 to 3", [&] {
    return pool_faces(x, on(Tensor::zeros({4})), list({1, 4}), list({0, 2}), list({0, 1}), {});
  });
  EXPECT_NO_THROW(gather(x, on(Tensor::from({1}, std::vector<int64_t>{3}))).values()) << "a fault is thrown once";
}

// An image must lie within the bytes, and none may be smaller than the crop: it would be completed by its neighbours' pixels.
TEST(CudaFaults, AnImageThatIsNotAllThereIsAnError) {
  VITRINE_NEEDS_CUDA;
  ImageInputAttrs a;
  a.height = a.width = 4;
  const auto error_of = [&](const ImagePlace& p) {
    const Tensor places = Tensor::from({1, 4}, std::vector<int64_t>{p.first, p.height, p.width, p.mirrored});
    try {
      image_input(Tensor::zeros({100}, Dtype::u8).to(Device::cuda), places.to(Device::cuda), a).values();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(error_of({52, 4, 4, 0}), "");
  EXPECT_EQ(error_of({53, 4, 4, 0}), "image_input: byte 100: expected 0 to 99");
  EXPECT_EQ(error_of({-1, 4, 4, 1}), "image_input: byte -1: expected 0 to 99");
  for (const auto& [height, width] : {std::pair{3, 4}, {4, 3}, {2, 4}, {4, 2}})
    EXPECT_EQ(error_of({30, height, width, 0}), "image_input: byte -1: expected 0 to 99") << height << "x" << width;
}

TEST(CudaObserve, EveryPieceOfALongTensorIsSeen) {
  VITRINE_NEEDS_CUDA;
  std::vector<float> v((257 << 14) + 3, 0.5f);  // a piece is 2^14 numbers, and a block of 256 threads joins the pieces
  v[v.size() - 5] = 7, v[v.size() - 1] = -3;
  const Tensor x = Tensor::from({static_cast<int64_t>(v.size())}, v), range = Tensor::zeros({2});
  EXPECT_EQ(quant::observe(x.to(Device::cuda), range.to(Device::cuda)).values(), (std::vector<double>{-3, 7}));
}

// NaN, infinities, both zeros, ties, ends of ranges: where a comparison the other way round would show.
TEST(CudaEdges, HaveTheBitsOfTheCpu) {
  VITRINE_NEEDS_CUDA;
  OwnKernels own;
  const auto expect = [](const char* name, const AttrsPtr& attrs, const Tensors& in) {
    const OpDef& op = op_named(name);
    const AttrsPtr with = attrs ? attrs : op.attrs ? op.attrs() : nullptr;
    Tensors there;
    for (const Tensor& t : in) there.push_back(t.to(Device::cuda));
    const Tensors want = apply(op, with, in), got = apply(op, with, there);
    for (size_t k = 0; k < want.size(); ++k) expect_same(got[k], want[k], cat(name, " output ", k));
  };
  const auto numbers = [](Shape s, const std::vector<float>& v) { return Tensor::from(s, v); };
  Maker make(Dtype::f32, kSeed);
  const Tensor odd = numbers({2, 2, 2, 2}, {NAN, 0, -0.f, 1, INFINITY, -INFINITY, -1, 0.5f, 2, -0.5f, NAN, -2, 0, 0, 1, -0.f});
  const Tensor slope = numbers({2}, {0.25f, -0.5f}), ends = numbers({2}, {-0.5f, 1}), g = make.uniform({2, 2, 2, 2});
  expect("prelu", nullptr, {odd, slope}), expect("prelu_grad", nullptr, {odd, slope, g});
  expect("clip", nullptr, {odd, ends}), expect("clip_grad", nullptr, {odd, ends, g});
  expect("fake_quant", nullptr, {odd, ends}), expect("quantize", nullptr, {odd, ends});
  const auto all = std::make_shared<ReduceAttrs>();
  all->count = 4;
  for (const char* op : {"min", "max"}) expect(op, all, {odd});

  // Observers ignore NaN; one end of a range may be 0, and x may lie within it.
  const Tensor within = numbers({5}, {0.125f, NAN, -0.125f, 0.25f, NAN});
  for (int64_t rule = 0; rule <= quant::ObserveAttrs::mse; ++rule)
    for (const auto& [lo, hi] : {std::pair{0.f, 0.5f}, {-1.f, 0.f}, {-2.f, 3.f}}) {
      auto a = std::make_shared<quant::ObserveAttrs>();
      a->rule = rule;
      expect("observe", a, {within, numbers({2}, {lo, hi})});
    }

  for (const Tensor& x : {make.integers({2, 9, 9, 3}, -1, 1), numbers({1, 3, 2, 1}, {1, NAN, 2, NAN, 3, 0})}) {
    const auto a = std::make_shared<PoolAttrs>(2, 1, 0);
    const Tensor y = apply(op_named("max_pool"), a, {x})[0];
    expect("max_pool", a, {x}), expect("max_pool_grad", a, {x, make.uniform(y.shape())});
  }

  // A normalised value that is 0; channels that are constant and large, whose variance comes out negative.
  const Tensor zero = Tensor::zeros({4}), one = Tensor::full({4}, 1), falling = make.uniform({4}, -1, -0.5);
  const Tensor balanced = reshape(numbers({3, 1}, {-1, 0, 1}), {3, 1}), x = expand(balanced, {3, 4});
  expect("batch_norm_prelu", nullptr, {x, one, zero, zero, one, falling});
  expect("batch_norm_prelu_grad", nullptr, {make.uniform({3, 4}), x, one, zero, zero, one, falling});
  expect("batch_norm_train", nullptr,
         {expand(make.uniform({1, 40}, 1e6, 2e6), {200, 40}), Tensor::full({40}, 1), Tensor::zeros({40}), Tensor::zeros({40}),
          Tensor::full({40}, 1)});
}

// Cosines are products of rounded vectors: 1 + 2^-23 is one.
TEST(CudaEdges, AMarginTakesCosinesBeyondOneAsOne) {
  VITRINE_NEEDS_CUDA;
  const Tensor cosines = Tensor::from({4, 1}, std::vector<float>{1, 1.0000001f, -1, -1.0000001f}), labels = Tensor::zeros({4}, Dtype::i64);
  MarginAttrs a;
  a.m2 = 0.5;
  const auto both = [&](Device d) {
    Tensor x = cosines.to(d).set_requires_grad();
    const Tensor y = margin(x, labels.to(d), a, false);
    return std::pair{y.values(), grad(sum(y), {x})[0].values()};
  };
  const auto [y, slope] = both(Device::cuda);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(y[i], both(Device::cpu).first[i], 0x1p-22);
  EXPECT_EQ(slope, std::vector<double>(4, 0));
}

// Elements of every width are moved, whatever they mean.
TEST(CudaMoves, RowsAndAxesOfEveryWidth) {
  VITRINE_NEEDS_CUDA;
  const Tensor index = Tensor::from({5}, std::vector<int64_t>{2, 0, 2, 1, 1}), x = Maker(Dtype::f32, kSeed).integers({3, 4, 5}, 0, 100);
  for (Dtype d : {Dtype::u8, Dtype::bf16, Dtype::f32, Dtype::i32, Dtype::i64, Dtype::f64}) {
    const Tensor here = d == Dtype::bf16 ? cast(x, d) : x.to(d), there = here.to(Device::cuda);
    EXPECT_EQ(gather(there, index.to(Device::cuda)).values(), gather(here, index).values()) << info(d).name;
    EXPECT_EQ(transpose(there, {2, 0, 1}).values(), transpose(here, {2, 0, 1}).values()) << info(d).name;
  }
}

// More rows than a launch has blocks, longer than a block: it goes on to its next row, whose sums lie where the last ones were.
TEST(CudaRows, MoreThanBlocks) {
  VITRINE_NEEDS_CUDA;
  OwnKernels own;
  Maker make(Dtype::f32, kSeed);
  const Tensor x = make.uniform({9, 300}), g = make.uniform({9, 300}), many = make.uniform({70, 40}), labels = make.indices({9}, 300);
  const auto expect_near = [](const Tensor& got, const Tensor& want) {
    const auto a = got.values(), b = want.values();
    for (size_t i = 0; i < b.size(); ++i) EXPECT_NEAR(a[i], b[i], 0x1p-20) << i;
  };
  for (const bool mse : {false, true}) {
    const Tensor& w = mse ? x : many;
    expect_same(quant::fake_quant_weight(w.to(Device::cuda), 4, true, mse), quant::fake_quant_weight(w, 4, true, mse), cat("mse ", mse));
  }
  expect_near(cross_entropy(x.to(Device::cuda), labels.to(Device::cuda)), cross_entropy(x, labels));
  const auto direction = [&](Device d) {
    const Tensor at = x.to(d).set_requires_grad();
    return grad(l2_normalize(at), {at}, g.to(d))[0];
  };
  expect_near(direction(Device::cuda), direction(Device::cpu));
}

}  // namespace
}  // namespace vitrine
