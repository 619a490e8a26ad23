// Tensors, dtypes, shapes and attributes: what is stored, converted, shared and refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "engine/core/attrs.h"
#include "engine/core/tensor.h"

namespace vitrine {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

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

Tensor stored(Dtype d, const std::vector<uint16_t>& bits) {
  Tensor t = Tensor::empty({{static_cast<int64_t>(bits.size())}, d});
  std::memcpy(t.raw(), bits.data(), bits.size() * 2);
  return t;
}
std::vector<double> converted(const std::vector<double>& v, Dtype d) {
  return Tensor::from({static_cast<int64_t>(v.size())}, v).to(d).values();
}

TEST(CoreDtype, HalvesAreReadExactly) {
  auto v = stored(Dtype::f16, {0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x0400, 0x3555, 0x7c00, 0xfc00, 0x8000, 0x7e00}).values();
  const double want[] = {1, -2, 65504, 0x1p-24, 1023 * 0x1p-24, 0x1p-14, 0.333251953125, kInf, -kInf, 0};
  for (int i = 0; i < 10; ++i) EXPECT_EQ(v[i], want[i]) << i;
  EXPECT_TRUE(std::signbit(v[9]));
  EXPECT_TRUE(std::isnan(v[10]));
}

TEST(CoreDtype, BrainFloatsAreTheUpperHalfOfAFloat) {
  auto v = stored(Dtype::bf16, {0x3f80, 0x4049, 0xc2f7, 0x0001, 0x7f80, 0xff80, 0x7fc0}).values();
  const double want[] = {1, 3.140625, -123.5, 0x1p-133, kInf, -kInf};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(v[i], want[i]) << i;
  EXPECT_TRUE(std::isnan(v[6]));
  EXPECT_EQ(stored(Dtype::i16, {0x7fff, 0x8000, 0xffff}).values(), std::vector<double>({32767, -32768, -1}));
}

TEST(CoreDtype, IntegersRoundHalfToEvenAndSaturate) {
  EXPECT_EQ(converted({0.5, 1.5, 2.5, -0.5, -1.5, 127.4, 127.5, 1e9, -128.5, -1e9, kInf, -kInf, kNan}, Dtype::i8),
            std::vector<double>({0, 2, 2, 0, -2, 127, 127, 127, -128, -128, 127, -128, 0}));
  EXPECT_EQ(converted({-1, -kInf, 254.5, 255.5, 300, 3.5}, Dtype::u8), std::vector<double>({0, 0, 254, 255, 255, 4}));
  EXPECT_EQ(converted({3e9, -3e9, 2147483646.5}, Dtype::i32), std::vector<double>({2147483647, -2147483648.0, 2147483646}));
  EXPECT_EQ(Tensor::scalar(1e30, Dtype::f64).to(Dtype::i64).item<int64_t>(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(Tensor::scalar(-kInf, Dtype::f64).to(Dtype::i64).item<int64_t>(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(converted({0, 0.25, -3}, Dtype::b8), std::vector<double>({0, 1, 1}));
}

TEST(CoreDtype, DoublesRoundToTheNearestFloat) {
  EXPECT_EQ(converted({1 + 0x1p-24, 1 + 3 * 0x1p-24, 0.1, 1e300}, Dtype::f32), std::vector<double>({1, 1 + 0x1p-22, double{0.1f}, kInf}));
}

TEST(CoreDtype, LargeIntegersKeepEveryBit) {
  int64_t big = (int64_t{1} << 60) + 1;
  Tensor t = Tensor::from({2}, std::vector<int64_t>{big, -big});
  EXPECT_EQ(t.values<int64_t>(), std::vector<int64_t>({big, -big}));
  EXPECT_EQ(Tensor::from({}, std::vector<int64_t>{big}).item<int64_t>(), big);
}

TEST(CoreDtype, NamesOfBothWorldsAreKnownAndOthersRefused) {
  for (int i = 0; i < 10; ++i) {
    Dtype d = static_cast<Dtype>(i);
    EXPECT_EQ(dtype_named(info(d).name), d);
    EXPECT_EQ(dtype_named(info(d).safetensors), d);
  }
  EXPECT_THROW(dtype_named("f8"), Error);
  EXPECT_THROW(Tensor::zeros({1}).to(Dtype::f16), Error) << "storage types of foreign files are not written";
}

TEST(CoreTensor, CopiesShareAndClonesDoNot) {
  Tensor a = Tensor::from({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}), view = a.view({3, 2}), copy = a.clone();
  EXPECT_TRUE(a.shares(view));
  EXPECT_TRUE(a.shares(a.detach()));
  EXPECT_FALSE(a.shares(copy));
  uint32_t before = a.version();
  a.assign(Tensor::zeros({2, 3}));
  EXPECT_EQ(view.values(), std::vector<double>(6, 0.0));
  EXPECT_GT(view.version(), before) << "a view does not notice that its bytes changed";
  EXPECT_EQ(copy.values(), std::vector<double>({1, 2, 3, 4, 5, 6}));
}

TEST(CoreTensor, WrongUseIsAnErrorThatShowsTheTensor) {
  Tensor t = Tensor::zeros({2, 3});
  EXPECT_TRUE(contains(message([&] { t.data<double>(); }), "f32[2,3]"));
  EXPECT_TRUE(contains(message([&] { t.view({4}); }), "f32[2,3] as [4]"));
  EXPECT_TRUE(contains(message([&] { t.item(); }), "f32[2,3]"));
  EXPECT_TRUE(contains(message([&] { t.assign(Tensor::zeros({3, 2})); }), "f32[3,2] to f32[2,3]"));
  EXPECT_TRUE(contains(message([&] { Tensor::from({2, 2}, std::vector<float>(3)); }), "3 values for shape [2,2]"));
  EXPECT_TRUE(contains(message([] { Tensor().data<float>(); }), "empty handle"));
  EXPECT_TRUE(contains(message([&] { t.without_bytes().values(); }), "no bytes"));
  EXPECT_TRUE(contains(message([] { Shape({1, 1, 1, 1, 1, 1, 1}); }), "rank"));
}

TEST(CoreTensor, EmptyAndScalarTensorsHaveTheirSizes) {
  EXPECT_EQ(Tensor::zeros({0, 5}).numel(), 0);
  EXPECT_EQ(Tensor::zeros({0, 5}).values(), std::vector<double>());
  EXPECT_EQ(Tensor::scalar(2.5).item(), 2.5);
  EXPECT_EQ(Tensor::scalar(2.5).shape().rows(), 1);
  EXPECT_EQ(Shape({2, 3, 4}).rows(), 6);
  EXPECT_EQ((Meta{{2, 3}, Dtype::f64}).nbytes(), 48);
}

TEST(CoreTensor, LiveAndPeakBytesAreCounted) {
  int64_t before = memory_use(Device::cpu).live;
  reset_peak(Device::cpu);
  {
    Tensor a = Tensor::zeros({1000}), b = a.clone(), view = a.view({10, 100});
    EXPECT_EQ(memory_use(Device::cpu).live, before + 8000);
  }
  EXPECT_EQ(memory_use(Device::cpu).live, before);
  EXPECT_EQ(memory_use(Device::cpu).peak, before + 8000);
}

TEST(CoreDevice, AMissingDeviceSaysWhy) {
  if (backend_state(Device::cuda).state == Backend::State::ready) GTEST_SKIP() << "this machine has it";
  EXPECT_TRUE(contains(message([] { backend(Device::cuda); }), "device cuda: " + backend_state(Device::cuda).why));
  EXPECT_FALSE(backend_state(Device::cuda).why.empty());
  EXPECT_THROW(Tensor::zeros({1}).to(Device::cuda), Error);
}

struct Sample : Attrs {
  int64_t count = 3;
  double rate = 0.1;
  Shape shape{2, 3};
  void visit(AttrVisitor& v) override { v("count", count), v("rate", rate), v("shape", shape); }
};

TEST(CoreAttrs, EveryValueReadsBackAsItWas) {
  EXPECT_EQ(([] {
              Sample s;
              return print(s);
            }()),
            " count=3 rate=0.1 shape=2,3");
  for (double rate : {1.0 / 3, 5e-4, 1e-300, -0.0, 12345678901234567.0, 0x1p-1074, kInf})
    for (const Shape& shape : {Shape(), Shape({-1}), Shape({1, 2, 3, 4, 5, 6})}) {
      Sample a, b;
      a.count = std::numeric_limits<int64_t>::min(), a.rate = rate, a.shape = shape;
      parse(b, print(a));
      EXPECT_EQ(b.count, a.count);
      EXPECT_EQ(b.rate, a.rate);
      EXPECT_EQ(std::signbit(b.rate), std::signbit(a.rate));
      EXPECT_EQ(b.shape, a.shape);
    }
}

TEST(CoreAttrs, MissingFieldsKeepTheirDefaultsAndWrongOnesAreNamed) {
  Sample s;
  parse(s, "rate=2");
  EXPECT_EQ(s.count, 3);
  EXPECT_EQ(s.rate, 2);
  auto error = [](const char* text) {
    return message([&] {
      Sample s;
      parse(s, text);
    });
  };
  EXPECT_TRUE(contains(error("speed=1"), "unknown attribute speed"));
  EXPECT_TRUE(contains(error("count=1 count=2"), "count is given twice"));
  EXPECT_TRUE(contains(error("count=1.5"), "attribute count: '1.5'"));
  EXPECT_TRUE(contains(error("count=99999999999999999999"), "attribute count"));
  EXPECT_TRUE(contains(error("rate="), "attribute rate"));
  EXPECT_TRUE(contains(error("shape=1,,2"), "attribute shape"));
  EXPECT_TRUE(contains(error("shape=1,2,3,4,5,6,7"), "rank"));
  EXPECT_TRUE(contains(error("count"), "expected name=value"));
  EXPECT_TRUE(contains(error("=1"), "expected name=value"));
}

}  // namespace
}  // namespace vitrine
