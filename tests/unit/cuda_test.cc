// The device against the cpu, for every operator case (tests/case.h): on a GPU with CUDA=1, on simulated CUDA with CUDA=sim, where the
// same kernels run. Skipped, and counted, where there is no device.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "engine/core/mode.h"
#include "engine/core/queue.h"
#include "engine/core/rng.h"
#include "engine/ops.h"
#include "quant/ops/qconv2d.h"
#include "quant/ops/qconv2d_cuda.h"
#include "tests/case.h"
#include "tests/cuda.h"

namespace vitrine {
namespace {

constexpr uint64_t kSeed = 7;

// Results that need not have the bits of the cpu: how many roundings of f32 may fall differently, and why any may. All else must agree to
// the bit, when our own kernels run.
struct Looser {
  int roundings;
  const char* why;
};
const std::map<std::string, Looser> kLooser = {
    {"exp", {1, "libm"}},
    {"log", {1, "libm"}},
    {"sigmoid", {3, "libm, then an addition and a division"}},
    {"cross_entropy", {1, "libm, and a sum in f64 in another order"}},
    {"cross_entropy_grad", {1, "libm, and a sum in f64 in another order"}},
    {"margin", {1, "libm"}},
    {"margin_straight", {1, "libm"}},
    {"margin_grad", {1, "libm"}},
    {"sum", {1, "a sum in f64 in another order"}},
    {"l2_normalize", {2, "a sum in f64 in another order, then a division"}},
    {"l2_normalize_grad", {1, "sums in f64 in another order"}},
};

bool is_real(const Tensor& t) { return t.dtype() == Dtype::f32 || t.dtype() == Dtype::f64; }

Tensors inputs(const Case& c, Dtype d, Device device) {
  Maker make(d, kSeed);
  Tensors in = c.inputs(make);
  for (Tensor& t : in) t = t.to(device);
  return in;
}

Tensors outputs_and_gradients(const Case& c, Tensors in) {
  Tensors wrt;
  for (Tensor& t : in)
    if (is_real(t)) wrt.push_back(t.set_requires_grad());
  Tensors out = c.run(in);
  if (!c.differentiable) return out;
  Tensor total;
  for (const Tensor& y : Tensors(out))
    if (is_real(y)) total = total ? add(total, sum(square(y))) : sum(square(y));
  for (const Tensor& g : grad(total, wrt))
    if (g) out.push_back(g);
  return out;
}

struct CallMade {
  const OpDef* op;
  AttrsPtr attrs;
  Tensors in, out;
};

// Every operator call, with its values, that a case and its gradient lead to.
std::vector<CallMade> calls_of(const Case& c, Dtype d = Dtype::f32) {
  std::vector<CallMade> calls;
  Recorder record = [&](const OpDef& op, const AttrsPtr& attrs, const Tensors& in, const Tensors& out) {
    CallMade call{&op, attrs, {}, {}};
    for (const Tensor& t : in) call.in.push_back(t.detach());
    for (const Tensor& t : out) call.out.push_back(t.detach());
    calls.push_back(std::move(call));
  };
  set_recorder(&record);
  try {
    outputs_and_gradients(c, inputs(c, d, Device::cpu));
  } catch (...) {
    set_recorder(nullptr);
    throw;
  }
  set_recorder(nullptr);
  return calls;
}

double largest(const Tensor& t) {
  double m = 0;
  for (double v : t.values())
    if (std::isfinite(v)) m = std::max(m, std::abs(v));
  return m;
}

// roundings * 2^-23 |y|, and for what is summed in f64 before: elements * 2^-52 * the largest number in sight, in the call or in the same
// call on absolute values.
void expect_close(const CallMade& call, const Tensor& got, size_t k, const Looser& looser) {
  Tensors positive;
  for (const Tensor& t : call.in) positive.push_back(is_real(t) ? abs(t) : t);
  const Tensor& want = call.out[k];
  double magnitude = std::max(largest(want), largest(apply(*call.op, call.attrs, positive)[k]));
  for (const Tensor& t : call.in) magnitude = std::max(magnitude, is_real(t) ? largest(t) : 0);
  const double sums = 0x1p-52 * static_cast<double>(call.in[0].numel()) * magnitude;
  auto a = got.values(), b = want.values();
  for (size_t i = 0; i < b.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    ASSERT_NEAR(a[i], b[i], looser.roundings * 0x1p-23 * std::abs(b[i]) + sums) << call.op->name << " output " << k << " element " << i;
  }
}

void expect_equal(const CallMade& call, const Tensor& got, size_t k) {
  Tensor host = got.to(Device::cpu);
  auto* a = static_cast<const unsigned char*>(host.raw());
  auto* b = static_cast<const unsigned char*>(call.out[k].raw());
  const int64_t width = info(got.dtype()).block_bytes;
  for (int64_t i = 0; i < got.meta().nbytes(); ++i)
    ASSERT_EQ(int{a[i]}, int{b[i]}) << call.op->name << " output " << k << " element " << i / width << ": " << host.values()[i / width]
                                    << ", the cpu has " << call.out[k].values()[i / width];
}

Tensors on_the_device(const CallMade& call) {
  Tensors in;
  for (const Tensor& t : call.in) in.push_back(t.to(Device::cuda));
  return apply(*call.op, call.attrs, in);
}

class CudaCase : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override { VITRINE_NEEDS_CUDA; }
  const Case& c() const { return cases()[GetParam()]; }
};

TEST_P(CudaCase, EveryCallHasTheBitsOfTheCpuOrDiffersByTheStatedRoundings) {
  OwnKernels own;
  auto calls = calls_of(c());
  NoGrad quiet;
  for (const CallMade& call : calls) {
    if (call.op->view) continue;
    Tensors out = on_the_device(call);
    ASSERT_EQ(out.size(), call.out.size());
    auto looser = kLooser.find(call.op->name);
    for (size_t k = 0; k < out.size() && !HasFatalFailure(); ++k)
      looser == kLooser.end() ? expect_equal(call, out[k], k) : expect_close(call, out[k], k, looser->second);
  }
}

// In f64 no rounding to f32 hides another order.
TEST_P(CudaCase, CallsInF64HaveTheBitsOfTheCpu) {
  OwnKernels own;
  auto calls = calls_of(c(), Dtype::f64);
  NoGrad quiet;
  for (const CallMade& call : calls) {
    if (call.op->view || kLooser.count(call.op->name)) continue;
    const Tensors out = on_the_device(call);
    for (size_t k = 0; k < out.size() && !HasFatalFailure(); ++k)
      if (out[k].dtype() == Dtype::f64) expect_equal(call, out[k], k);
  }
}

TEST_P(CudaCase, IntegerLayersHaveTheBitsOfTheCpuOnEveryPath) {
  if (c().op != "qconv2d") return;
  auto calls = calls_of(c());
  for (auto path : {quant::QPath::dp4a, quant::QPath::bytes, quant::QPath::nibbles})
    for (const CallMade& call : calls) {
      if (call.op->name != c().op) continue;
      quant::qpath() = path;
      Tensors out = on_the_device(call);
      quant::qpath() = quant::QPath::chosen;
      for (size_t k = 0; k < out.size() && !HasFatalFailure(); ++k) expect_equal(call, out[k], k);
    }
}

// With cuDNN and cuBLAS, where there are any; forward and backward without leaving the device.
TEST_P(CudaCase, AgreesWithDoubleWithinTheComputedBoundAndStaysOnTheDevice) {
  for (const Tensor& t : outputs_and_gradients(c(), inputs(c(), Dtype::f32, Device::cuda))) EXPECT_EQ(t.device(), Device::cuda);
  Tensors got = c().run(inputs(c(), Dtype::f32, Device::cuda)), want = c().run(inputs(c(), Dtype::f64, Device::cpu));
  Tensors positive = inputs(c(), Dtype::f64, Device::cpu);
  for (Tensor& t : positive)
    if (is_real(t)) t = abs(t);
  Tensors magnitude = c().run(positive);
  for (size_t k = 0; k < got.size(); ++k) {
    auto a = got[k].values(), b = want[k].values(), m = magnitude[k].values();
    for (size_t i = 0; i < a.size(); ++i) {
      if (c().exact) {
        ASSERT_EQ(a[i], static_cast<double>(static_cast<float>(b[i]))) << "output " << k << " element " << i;
      }
      const double bound = 0x1p-23 * static_cast<double>(c().terms) * std::max({std::abs(m[i]), std::abs(b[i]), 1e-30});
      if (std::isfinite(bound)) {
        ASSERT_NEAR(a[i], b[i], bound) << "output " << k << " element " << i;
      }
    }
  }
}

// Inputs rounded to TF32 keep 11 bits, to bf16 8: two of them move a product by 2^-10 or 2^-7 of its size. What is written in bf16, or
// scaled before it is rounded, moves by as much again; four times that is allowed.
TEST_P(CudaCase, RoundedInputsMoveProductsByNoMoreThanTheyMay) {
  static const std::set<std::string> products{"conv2d", "conv2d_fused", "matmul"};
  if (!products.count(c().op) || backend(Device::cuda).simulated) return;  // our own kernels round nothing
  Tensors want = outputs_and_gradients(c(), inputs(c(), Dtype::f64, Device::cpu)), positive = inputs(c(), Dtype::f64, Device::cpu);
  for (Tensor& t : positive) t = abs(t);
  const Tensors magnitude = outputs_and_gradients(c(), positive);
  for (auto [precision, step] : {std::pair{Mode::Precision::tf32, 0x1p-8}, {Mode::Precision::bf16, 0x1p-5}}) {
    mode().precision = precision;
    const Tensors got = outputs_and_gradients(c(), inputs(c(), Dtype::f32, Device::cuda));
    mode().precision = Mode::Precision::f32;
    for (size_t k = 0; k < got.size(); ++k) {
      const auto a = got[k].values(), b = want[k].values();
      const double bound = step * std::max(largest(magnitude[k]), largest(want[k]));
      for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], bound) << name(precision) << ", output " << k << " element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, CudaCase, ::testing::Range<size_t>(0, cases().size()), [](const auto& info) {
  std::string name = cases()[info.param].op + "_" + cases()[info.param].label;
  for (char& ch : name)
    if (!std::isalnum(static_cast<unsigned char>(ch))) ch = '_';
  return name + "_" + std::to_string(info.param);
});

TEST(CudaOperators, EveryOneHasAKernel) {
  VITRINE_NEEDS_CUDA;
  std::set<std::string> known;
  for (const OpDef* op : all_ops()) {
    known.insert(op->name);
    EXPECT_TRUE(op->view || op->kernel[static_cast<int>(Device::cuda)]) << op->name << " has no cuda kernel";
  }
  for (auto& [name, looser] : kLooser) EXPECT_TRUE(known.count(name)) << name << " is listed (" << looser.why << ") but is no operator";
}

// What a layer's constants are prepared into is kept, until one of them changes.
TEST(CudaIntegerLayer, FollowsItsConstants) {
  VITRINE_NEEDS_CUDA;
  auto it = std::find_if(cases().begin(), cases().end(), [](const Case& c) { return c.op == "qconv2d"; });
  const CallMade call = calls_of(*it).back();
  Tensors in, on_host = call.in;
  for (const Tensor& t : call.in) in.push_back(t.to(Device::cuda));
  for (size_t changed = 0; changed < in.size(); ++changed) {
    SCOPED_TRACE(changed);
    Tensor next = on_host[changed].clone();
    auto* bytes = static_cast<unsigned char*>(next.raw());
    if (next.dtype() == Dtype::f32)
      for (int64_t i = 0; i < next.numel(); ++i) next.data<float>()[i] *= 0.75f;
    else
      for (int64_t i = 0; i < next.meta().nbytes(); i += next.dtype() == Dtype::i32 ? 4 : 1) bytes[i] ^= 1;
    on_host[changed] = next, in[changed].assign(next.to(Device::cuda));
    Tensors want = apply(*call.op, call.attrs, on_host), got = apply(*call.op, call.attrs, in);
    EXPECT_NE(want[0].values(), call.out[0].values());
    for (size_t k = 0; k < want.size(); ++k) EXPECT_EQ(got[k].values(), want[k].values()) << "output " << k;
  }
}

// Each has constants, and attributes, of its own.
TEST(CudaIntegerLayer, MayShareItsWeightsWithAnother) {
  VITRINE_NEEDS_CUDA;
  auto it = std::find_if(cases().begin(), cases().end(), [](const Case& c) { return c.op == "qconv2d"; });
  const CallMade call = calls_of(*it).back();
  Tensors in, on_host = call.in;
  for (const Tensor& t : call.in) in.push_back(t.to(Device::cuda));
  const auto narrower = std::make_shared<quant::QConv2dAttrs>(static_cast<const quant::QConv2dAttrs&>(*call.attrs));
  narrower->out_bits -= 2;
  for (const AttrsPtr& a : {call.attrs, AttrsPtr(narrower)})
    EXPECT_EQ(apply(*call.op, a, in)[0].values(), apply(*call.op, a, on_host)[0].values());
  for (size_t i : {3u, 5u}) {  // scales of the weights, gains
    on_host[i] = mul_scalar(on_host[i], 0.5), in[i] = on_host[i].to(Device::cuda);
    EXPECT_EQ(apply(*call.op, narrower, in)[0].values(), apply(*call.op, narrower, on_host)[0].values()) << i;
  }
}

TEST(CudaSort, OverManyTilesIsStableAndPutsNanLast) {
  VITRINE_NEEDS_CUDA;
  std::vector<float> v(2500);
  Philox rng(3);
  for (float& x : v) x = static_cast<float>(rng.below(40));
  v[7] = v[1999] = NAN;
  Tensor x = Tensor::from({static_cast<int64_t>(v.size())}, v);
  for (bool descending : {false, true})
    EXPECT_EQ(sort(x.to(Device::cuda), descending).index.values<int64_t>(), sort(x, descending).index.values<int64_t>());
}

TEST(CudaMemory, AFreedBlockIsUsedAgain) {
  VITRINE_NEEDS_CUDA;
  void* first = Tensor::empty({{1000}, Dtype::f32, Device::cuda}).raw();
  EXPECT_EQ(Tensor::empty({{1000}, Dtype::f32, Device::cuda}).raw(), first);
}

// Copies of whole pinned blocks, of parts of them, and with fewer bytes than go through them.
TEST(CudaMemory, BytesComeBackAsTheyWent) {
  VITRINE_NEEDS_CUDA;
  for (int64_t n : {0, 1, 1 << 20, 16 << 20, 24 << 20, (40 << 20) + 5}) {
    std::vector<uint8_t> sent(n), back(n);
    for (int64_t i = 0; i < n; ++i) sent[i] = static_cast<uint8_t>(i % 251);
    const Tensor there = Tensor::empty({{n}, Dtype::u8, Device::cuda});
    backend(Device::cuda).from_host(there.raw(), sent.data(), n);
    backend(Device::cuda).to_host(back.data(), there.raw(), n);
    EXPECT_TRUE(back == sent) << n << " bytes";
  }
}

Tensor on_device(const std::vector<float>& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v).to(Device::cuda); }

TEST(CudaQueue, RecordedWorkIsDoneWheneverItIsRun) {
  VITRINE_NEEDS_CUDA;
  Tensor x = on_device({1, 2}), y = on_device({0, 0});
  auto replay = queue_of(Device::cuda).replay();
  replay->record([&] { y.assign(add(mul(x, x), x)); });
  EXPECT_EQ(y.values<float>(), (std::vector<float>{0, 0})) << "recording does nothing";
  replay->run(0);
  EXPECT_EQ(y.values<float>(), (std::vector<float>{2, 6}));
  Tensor kept;
  replay->record([&] { kept = add(y, y); });
  x.assign(on_device({3, 4}));
  replay->run(0), replay->run(1);
  EXPECT_EQ(kept.values<float>(), (std::vector<float>{24, 40}));
}

TEST(CudaQueue, NobodyElseGetsTheMemoryOfRecordedWork) {
  VITRINE_NEEDS_CUDA;
  void* temporary = nullptr;
  auto replay = queue_of(Device::cuda).replay();
  replay->record([&] { temporary = Tensor::empty({{1000}, Dtype::f32, Device::cuda}).raw(); });
  EXPECT_NE(Tensor::empty({{1000}, Dtype::f32, Device::cuda}).raw(), temporary);
  replay.reset();
  EXPECT_EQ(Tensor::empty({{1000}, Dtype::f32, Device::cuda}).raw(), temporary) << "afterwards it is everybody's";
}

TEST(CudaQueue, WorkThatNeedsTheHostIsNotRecorded) {
  VITRINE_NEEDS_CUDA;
  Tensor x = on_device({1, 2});
  auto replay = queue_of(Device::cuda).replay();
  EXPECT_THROW(replay->record([&] { x.values(); }), Error);
  EXPECT_THROW(replay->record([&] { on_device({3}); }), Error);
  EXPECT_THROW(replay->record([&] { backend(Device::cuda).sync(); }), Error);
  EXPECT_THROW(replay->record([&] { await_copies(Device::cuda); }), Error);
  const float four = 4;
  EXPECT_THROW(replay->record([&] { copied_ahead(&four, {{1}, Dtype::f32, Device::cuda}); }), Error);
  replay->record([&] { x.assign(add(x, x)); });
  replay->run(0);
  EXPECT_EQ(x.values<float>(), (std::vector<float>{2, 4})) << "the device goes on";
}

TEST(CudaQueue, CopiesAheadAreThereOnceAwaited) {
  VITRINE_NEEDS_CUDA;
  std::vector<float> v(3 << 20);  // more than the two pinned blocks hold at once
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i);
  Tensor a = copied_ahead(v.data(), {{3 << 20}, Dtype::f32, Device::cuda}), b = copied_ahead(v.data() + 7, {{5}, Dtype::f32, Device::cuda});
  if (backend(Device::cuda).simulated) {
    EXPECT_TRUE(std::isnan(b.values()[0])) << "not a moment earlier, in the simulator";
  }
  await_copies(Device::cuda);
  EXPECT_EQ(b.values<float>(), std::vector<float>(&v[7], &v[12]));
  EXPECT_EQ(a.values<float>(), v);
}

}  // namespace
}  // namespace vitrine
