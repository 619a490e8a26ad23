// Integer models: what lowering makes of both placements, its codes against exact arithmetic, equal bits everywhere, files.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "engine/core/bytes.h"
#include "engine/core/parallel.h"
#include "engine/core/rng.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/qconv.h"
#include "engine/graph/session.h"
#include "nn/io/model_file.h"
#include "nn/network.h"
#include "quant/format.h"
#include "quant/lower.h"
#include "quant/ops/qconv2d.h"
#include "quant/ops/quantize.h"
#include "quant/placement.h"
#include "tests/cuda.h"
#include "tests/recipe.h"

namespace vitrine::quant {
namespace {

Tensor images(int64_t n, uint64_t seed = 11) {
  Philox rng(seed);
  std::vector<float> v(n * 32 * 32 * 3);
  for (float& x : v) x = (static_cast<float>(rng.below(256)) - 127.5f) / 127.5f;
  return Tensor::from({n, 32, 32, 3}, v);
}

// A network with statistics, slopes and biases worth folding, quantized, with ranges from a few images.
Model quantized(const std::string& network, const QuantSpec& bits, Model (*scheme)(const Model&, const QuantSpec&) = integer) {
  Model teacher = nn::make_model(network, 3, {32, 32, network == "mobilefacenet" ? 1.0 : 1.0 / 8, 16});
  uint64_t stream = 0;
  for (auto& [name, t] : teacher.tensors) {
    if (t.shape().rank() != 1) continue;
    Philox rng(17, ++stream);
    for (int64_t i = 0; i < t.numel(); ++i) {
      float& x = t.data<float>()[i];
      const auto u = static_cast<float>(rng.uniform());
      x = recipe::ends_with(name, "running_var") ? 0.5f + u : recipe::ends_with(name, "running_mean") ? u - 0.5f : x + 0.4f * (u - 0.5f);
    }
  }
  Model m = scheme(teacher, bits);
  run(with_running_ranges(m.graph), m.tensors, {images(8)});
  return m;
}

std::map<std::string, int> operators(const Graph& g) {
  std::map<std::string, int> count;
  for (const GraphNode& n : g.nodes) ++count[n.op->name];
  return count;
}
using Ops = std::map<std::string, int>;

TEST(Lowering, TheIntegerPlacementLeavesNothingButIntegerLayers) {
  EXPECT_EQ(operators(lower(quantized("iresnet18", {6, 6})).graph), (Ops{{"quantize", 1}, {"qconv2d", 22}, {"reshape", 1}}));
  EXPECT_EQ(operators(lower(quantized("iresnet50", {8, 8})).graph), (Ops{{"quantize", 1}, {"qconv2d", 54}, {"reshape", 1}}));
  EXPECT_EQ(operators(lower(quantized("mobilefacenet", {4, 4})).graph), (Ops{{"quantize", 1}, {"qconv2d", 50}, {"reshape", 1}}));
}

// Ten layers read floats (float_inputs): the stem, the first of each block, fc.
TEST(Lowering, ThePublishedPlacementRunsOnIntegersWhereItCan) {
  Model m = quantized("iresnet18", {6, 6}, quantface), packed = lower(m);
  Ops ops = operators(packed.graph);
  EXPECT_EQ(ops["qconv2d"], 12);
  EXPECT_EQ(ops["dequantize_weight"], 10);
  EXPECT_EQ(ops["conv2d"] + ops["matmul"], 10);
  EXPECT_EQ(ops["fake_quant"] + ops["fake_quant_weight"], 0);
  Tensor x = images(4, 5), y = run(packed.graph, packed.tensors, {x})[0], want = run(m.graph, m.tensors, {x})[0];
  for (int64_t i = 0; i < 4; ++i) EXPECT_GT(recipe::cosine(recipe::row(y, i), recipe::row(want, i)), 0.99) << i;
}

TEST(Lowering, WiderGridsAndWeightsStayFloat) {
  QuantSpec spec{8, 8};
  spec.layers = parse_layer_bits("layer1.0.conv1=w9a8,layer2.0.bn1=w8a9");
  Model packed = lower(quantized("iresnet18", spec));
  Ops ops = operators(packed.graph);
  EXPECT_EQ(ops["qconv2d"], 20);
  EXPECT_EQ(ops["conv2d"], 2);
  EXPECT_EQ(ops["fake_quant"], 1);
}

TEST(Lowering, RefusesWhatIsNotQuantizedAndWhatIsPacked) {
  EXPECT_THROW(lower(nn::make_model("iresnet18", 1, {32, 32, 1.0 / 64, 8})), Error);
  Model m = quantized("iresnet18", {8, 8}), packed = lower(m);
  EXPECT_TRUE(is_packed(packed.graph));
  EXPECT_FALSE(is_packed(m.graph));
  EXPECT_THROW(lower(packed), Error);
  EXPECT_THROW(integer(packed, {8, 8}), Error);
  Model training = m;
  training.graph = with_running_ranges(m.graph);
  EXPECT_THROW(lower(training), Error);
}

// --- the law ---

// The codes that the integer model stores, by the name of their range.
std::map<std::string, Tensor> stored_codes(const Model& packed, const Tensor& x) {
  std::map<std::string, Tensor> codes;
  auto name = [&](Id id) { return packed.graph.values[id].name; };
  run(packed.graph, packed.tensors, {x}, [&](const GraphNode& n, const Tensors& out) {
    if (n.op->name == std::string("quantize")) codes[name(n.in[1])] = out[0];
    if (n.op->name != std::string("qconv2d")) return;
    const QConv2dInputs<Id> in(n.in, static_cast<QConv2dAttrs&>(*n.attrs));
    if (in.out_range) codes[name(*in.out_range)] = out[0];
    if (in.second_range) codes[name(*in.second_range)] = out[1];
  });
  return codes;
}

struct Flips {
  int64_t codes = 0, different = 0;
  double farthest = 0;  // from a rounding boundary, of those that differ, in codes
};

// Each layer of the fake-quantized graph computed in f64 from the codes that the integer model stored before it.
Flips against_exact_arithmetic(const Model& m, const Model& packed, const Tensor& x) {
  auto codes = stored_codes(packed, x);
  Flips f;
  std::vector<Tensor> value(m.graph.values.size());
  for (size_t v = 0; v < value.size(); ++v)
    if (auto it = m.tensors.find(m.graph.values[v].name); it != m.tensors.end()) value[v] = it->second.to(Dtype::f64);
  value[m.graph.inputs[0]] = x.to(Dtype::f64);
  for (const GraphNode& n : m.graph.nodes) {
    Tensors in;
    for (Id id : n.in) in.push_back(value[id]);
    const std::string op = n.op->name;
    Tensor& y = value[n.out[0]];
    if (op == "fake_quant_weight") {
      PackedWeights p = pack_weights(m.tensors.at(m.graph.values[n.in[0]].name), static_cast<FakeQuantWeightAttrs&>(*n.attrs), "w");
      y = unpack_codes(p.codes).to(Dtype::f64);
      const int64_t each = y.numel() / y.shape()[0];
      for (int64_t i = 0; i < y.numel(); ++i)
        y.data<double>()[i] = (y.data<double>()[i] + p.zero.data<int32_t>()[i / each]) / double{p.scale.data<float>()[i / each]};
    } else if (op == "fake_quant") {
      const std::string& range = m.graph.values[n.in[1]].name;
      const Grid g = grid_of(m.tensors.at(range), static_cast<FakeQuantAttrs&>(*n.attrs).bits);
      const Tensor& got = codes.at(range);
      y = Tensor::zeros(in[0].shape(), Dtype::f64);
      for (int64_t i = 0; i < y.numel(); ++i) {
        const double exact = in[0].data<double>()[i] * double{g.scale} + g.zero;
        const double want = std::clamp(std::nearbyint(exact), 0.0, static_cast<double>(g.max));
        const int code = got.data<uint8_t>()[i];
        const double boundary = std::min<double>(code, want) + 0.5;
        ++f.codes;
        if (code != want) {
          ++f.different;
          const double distance = std::abs(code - want) == 1 ? std::abs(exact - boundary) / std::max(1.0, std::abs(exact)) : 1;
          f.farthest = std::max(f.farthest, distance);
        }
        y.data<double>()[i] = (code - g.zero) / double{g.scale};
      }
    } else {
      y = apply(*n.op, n.attrs, in)[0];
    }
  }
  return f;
}

class IntegerLaw : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(IntegerLaw, CodesDifferFromExactArithmeticOnlyNextToARoundingBoundary) {
  auto [network, bits] = GetParam();
  Model m = quantized(network, {bits, bits});
  Flips f = against_exact_arithmetic(m, lower(m), images(2, 23));
  RecordProperty("codes", static_cast<int>(f.codes));
  RecordProperty("different", static_cast<int>(f.different));
  RecordProperty("farthest", cat(f.farthest));
  EXPECT_GT(f.codes, 100000);
  EXPECT_LE(f.farthest, 0x1p-18) << f.different << " of " << f.codes << " codes differ";
}

INSTANTIATE_TEST_SUITE_P(, IntegerLaw, ::testing::Combine(::testing::Values("iresnet18", "mobilefacenet"), ::testing::Values(8, 6, 4)));

// --- equal bits ---

uint64_t fnv1a(const Tensor& t) {
  uint64_t h = 0xcbf29ce484222325;
  auto* p = static_cast<const unsigned char*>(t.raw());
  for (int64_t i = 0; i < t.meta().nbytes(); ++i) h = (h ^ p[i]) * 0x100000001b3;
  return h;
}

struct Signature {
  const char* network;
  int bits;
  uint64_t hash;  // of the embeddings of images(7): a change is a decision
};
class IntegerModel : public ::testing::TestWithParam<Signature> {};

TEST_P(IntegerModel, EmbeddingsHaveTheSameBitsForEveryInstructionSetThreadCountAndBatch) {
  auto [network, bits, hash] = GetParam();
  Model packed = lower(quantized(network, {bits, bits}));
  Tensor x = images(32);
  const int before = threads();
  Session all(packed.graph, packed.tensors, 32), seven(packed.graph, packed.tensors, 7), one(packed.graph, packed.tensors, 1);
  Tensor want = run(packed.graph, packed.tensors, {x})[0];
  const int64_t dim = want.shape()[1];
  auto rows = [&](const Tensor& t, int64_t first, int64_t n) {
    const int64_t each = t.numel() / t.shape()[0];
    Shape s = t.shape();
    s[0] = n;
    return Tensor::from(s, std::vector<float>(t.data<float>() + first * each, t.data<float>() + (first + n) * each));
  };
  EXPECT_EQ(fnv1a(rows(want, 0, 7)), hash);
  auto expect = [&](const Tensor& y, int64_t first, const std::string& where) {
    EXPECT_EQ(std::memcmp(y.raw(), want.data<float>() + first * dim, y.meta().nbytes()), 0) << where;
  };
  for (auto isa : {cpu::Isa::plain, cpu::Isa::avx2, cpu::Isa::avx512, cpu::best_isa()})
    for (int n : {1, 2, 4}) {
      if (isa == cpu::Isa::plain && n == 2) continue;  // slow
      cpu::set_isa(isa), set_threads(n);
      const std::string where = cat(cpu::name(isa), ", ", n, " threads, batch ");
      if (isa != cpu::Isa::plain) expect(all.run({x})[0], 0, where + "32");
      expect(seven.run({rows(x, 14, 7)})[0], 14, where + "7");
      expect(one.run({rows(x, 30, 1)})[0], 30, where + "1");
    }
  cpu::set_isa(cpu::best_isa()), set_threads(before);
}

TEST_P(IntegerModel, EmbeddingsHaveTheSameBitsOnCuda) {
  VITRINE_NEEDS_CUDA;
  const auto [network, bits, hash] = GetParam();
  const bool small = network == std::string("iresnet18") || (network == std::string("mobilefacenet") && bits == 6);
  if (backend(Device::cuda).simulated && !small) GTEST_SKIP() << "takes long on a simulated device";
  Model host = lower(quantized(network, {bits, bits})), device = to(host, Device::cuda);
  Tensor x = images(backend(Device::cuda).simulated ? 1 : 7);
  Tensor want = run(host.graph, host.tensors, {x})[0], got = run(device.graph, device.tensors, {x.to(Device::cuda)})[0];
  EXPECT_EQ(got.device(), Device::cuda);
  EXPECT_EQ(fnv1a(got.to(Device::cpu)), x.shape()[0] == 7 ? hash : fnv1a(want));
}

INSTANTIATE_TEST_SUITE_P(, IntegerModel,
                         ::testing::Values(Signature{"iresnet18", 8, 0x4d532439f363e3a2}, Signature{"iresnet18", 6, 0xd21b9c6df2956e60},
                                           Signature{"iresnet18", 4, 0x6309540ab66521b7}, Signature{"iresnet34", 8, 0xdc065d6904430a03},
                                           Signature{"iresnet50", 6, 0xf4baa6e774da13e5}, Signature{"mobilefacenet", 8, 0x08a617f044ccbdc4},
                                           Signature{"mobilefacenet", 6, 0xd4cd213350cf4ff5},
                                           Signature{"mobilefacenet", 4, 0xb1efac826be44bbe}),
                         [](const auto& info) { return cat(info.param.network, "_", info.param.bits, "_bits"); });

TEST(IntegerSession, ARunMakesNoTensor) {
  Model packed = lower(quantized("iresnet18", {8, 8}));
  Session s(packed.graph, packed.tensors, 4);
  Tensor x = images(4);
  s.run({x});
  reset_peak(Device::cpu);
  const int64_t live = memory_use(Device::cpu).live;
  s.run({x});
  EXPECT_EQ(memory_use(Device::cpu).peak, live);
}

// --- files ---

std::string saved(const Model& m) {
  const std::string path = ::testing::TempDir() + "vitrine_packed.safetensors";
  io::save_model(path, m);
  std::string bytes = load_bytes(path);
  std::remove(path.c_str());
  return bytes;
}

TEST(PackedFile, HoldsTheModelBitForBitAndPackedCodesInTheirBytes) {
  Model packed = lower(quantized("iresnet18", {6, 6})), back = io::parse_model(saved(packed), "file");
  EXPECT_EQ(print(back.graph), print(packed.graph));
  EXPECT_EQ(back.info, packed.info);
  Tensor x = images(2);
  EXPECT_EQ(run(back.graph, back.tensors, {x})[0].values(), run(packed.graph, packed.tensors, {x})[0].values());
  EXPECT_EQ(back.tensors.at("conv1.weight").meta(), (Meta{{8, 3, 3, 3}, Dtype::u6}));
  EXPECT_EQ(back.tensors.at("conv1.weight").meta().nbytes(), 8 * 27 * 6 / 8);
}

// What the file says is changed in the printed graph, or in a tensor.
TEST(PackedFile, CorruptFilesAreRefusedWithOneLine) {
  Model packed = lower(quantized("iresnet18", {6, 6}));
  const std::string whole = saved(packed);
  auto refused = [&](const std::string& bytes, const std::string& why) {
    try {
      io::parse_model(bytes, "broken.safetensors");
      ADD_FAILURE() << "read: " << why;
    } catch (const Error& e) {
      const std::string line = e.what();
      EXPECT_NE(line.find(why), std::string::npos) << line;
      EXPECT_EQ(line.rfind("broken.safetensors", 0), 0u) << line;
      EXPECT_EQ(line.find('\n'), std::string::npos) << line;
    }
  };
  auto edited = [&](const std::string& from, const std::string& to) {  // of equal length
    std::string bytes = whole;
    size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return bytes.replace(at, from.size(), to);
  };
  refused(edited("conv1.weight u6[", "conv1.weight u9["), "unknown dtype 'u9'");
  refused(edited("conv1.weight u6[", "conv1.weight u5["), "conv1.weight");
  refused(edited("x_bits=8", "x_bits=9"), "9 bits: stored codes have 2 to 8");
  refused(edited("residual_bits=6", "residual_bits=0"), "inputs, expected");
  refused(edited("= qconv2d", "= qconv3d"), "unknown operator 'qconv3d'");
  for (size_t n : {size_t{4}, size_t{100}, whole.size() / 2, whole.size() - 1}) refused(whole.substr(0, n), "broken.safetensors");

  auto with = [&](const std::string& name, auto value) {
    Model m = clone(packed);
    m.tensors.at(name).data<decltype(value)>()[0] = value;
    return m;
  };
  auto refused_model = [&](const Model& m, const std::string& why) {
    try {
      check(m);
      ADD_FAILURE() << "accepted: " << why;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(why), std::string::npos) << e.what();
    }
  };
  const float nan = std::nanf("");
  refused_model(with("conv1.weight.scale", nan), "scale of weights nan");
  refused_model(with("conv1.weight.scale", 0.f), "scale of weights 0");
  refused_model(with("conv1.weight.zero", cpu::kQZeroLimit), "zero of weights 16384");
  EXPECT_NO_THROW(check(with("conv1.weight.zero", cpu::kQZeroLimit - 1)));
  refused_model(with("conv1.gain", nan), "gain nan");
  refused_model(with("prelu.range", 0.5f), "range [0.5");
  refused_model(with("prelu.weight", nan), "slope nan");
}

}  // namespace
}  // namespace vitrine::quant
