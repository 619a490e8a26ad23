// Every reader of model files on damaged input: each truncation and thousands of seeded mutations end in success or in Error, never in
// another exception, a crash or an allocation out of proportion. Run it with config=asan to make the check sharp.
#include <algorithm>

#include "engine/core/rng.h"
#include "nn/io/model_file.h"
#include "nn/io/npy.h"
#include "nn/io/onnx.h"
#include "nn/io/onnx.pb.h"
#include "nn/io/onnx_tensor.h"
#include "nn/io/pth.h"
#include "nn/io/safetensors.h"
#include "tests/unit/io_testing.h"

namespace vitrine {
namespace {

constexpr int kMutations = 2500;
constexpr int64_t kMaxBytes = 1 << 20;  // of tensors, for files of a few kilobytes

template <class F>
bool survives(const std::string& bytes, F parse) {
  reset_peak(Device::cpu);
  bool good = true;
  try {
    parse(bytes);
  } catch (const Error& e) {
    good = false;
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    EXPECT_LT(std::string(e.what()).size(), 1000u) << e.what();
  }
  EXPECT_LT(memory_use(Device::cpu).peak - memory_use(Device::cpu).live, kMaxBytes);
  return good;
}

// One to four edits: a bit, a byte, a run of equal bytes, a cut, or a piece of the file copied elsewhere (insertion or overwrite).
std::string mutate(std::string s, Philox& rng) {
  for (uint64_t edits = 1 + rng.below(4); edits > 0 && !s.empty(); --edits) {
    size_t at = rng.below(s.size()), n = 1 + rng.below(std::min<size_t>(16, s.size() - at));
    switch (rng.below(6)) {
      case 0:
        s[at] = static_cast<char>(s[at] ^ 1 << rng.below(8));
        break;
      case 1:
        s[at] = static_cast<char>(rng.next());
        break;
      case 2:
        std::fill_n(s.begin() + static_cast<std::ptrdiff_t>(at), n, rng.below(2) ? '\xff' : '\0');
        break;
      case 3:
        s.erase(at, n);
        break;
      case 4:
        s.insert(rng.below(s.size()), s.substr(at, n));
        break;
      default:
        s.replace(rng.below(s.size()), n, s.substr(at, n));
        break;
    }
  }
  return s;
}

template <class F>
void fuzz(const std::string& valid, F parse) {
  ASSERT_TRUE(survives(valid, parse));
  for (size_t n = 0; n < valid.size(); ++n) EXPECT_FALSE(survives(valid.substr(0, n), parse)) << "cut at " << n;
  Philox rng(2024);
  for (int i = 0; i < kMutations; ++i) survives(mutate(valid, rng), parse);
}

// A network of a convolution with bias, prelu, batch norm, flattening and a matrix.
std::string small_onnx() {
  onnx::ModelProto model;
  model.add_opset_import()->set_version(11);
  auto& g = *model.mutable_graph();
  auto* in = g.add_input();
  in->set_name("data");
  in->mutable_type()->mutable_tensor_type()->set_elem_type(1);
  for (int64_t extent : {1, 2, 4, 4}) in->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(extent);
  std::string x = "data";
  auto node = [&](const char* op, const std::vector<Shape>& weights) {
    auto* n = g.add_node();
    n->set_op_type(op);
    n->add_input(x);
    for (const Shape& s : weights) {
      std::string name = cat("w", g.initializer_size());
      io::encode(Tensor::full(s, 0.5), name, g.add_initializer());
      n->add_input(name);
    }
    n->add_output(x = cat("t", g.node_size()));
    return n;
  };
  auto* pads = node("Conv", {{3, 2, 3, 3}, {3}})->add_attribute();
  pads->set_name("pads");
  for (int i = 0; i < 4; ++i) pads->add_ints(1);
  node("PRelu", {{3, 1, 1}});
  node("BatchNormalization", {{3}, {3}, {3}, {3}});
  node("Flatten", {});
  node("MatMul", {{48, 2}});
  g.add_output()->set_name(x);
  return model.SerializeAsString();
}

TEST(FuzzModels, PthZip) {
  fuzz(read_file(golden("io/nested_insightface.pth")), [](const std::string& s) { io::parse_pth(s, "f"); });
}
TEST(FuzzModels, PthLegacy) {
  fuzz(read_file(golden("io/backbone_legacy.pth")), [](const std::string& s) { io::parse_pth(s, "f"); });
}
// Checksums hide the pickle of a zip from most mutations; this one has none.
TEST(FuzzModels, PthLegacyProtocol4) {
  fuzz(read_file(golden("io/protocol4_legacy.pth")), [](const std::string& s) { io::parse_pth(s, "f"); });
}
TEST(FuzzModels, Safetensors) {
  fuzz(read_file(golden("io/tiny.safetensors")), [](const std::string& s) { io::parse_safetensors(s, "f"); });
}
TEST(FuzzModels, Npy) {
  TemporaryFile file("fuzz.npy");
  io::write_npy(file.path, Tensor::full({3, 5}, 1));
  fuzz(read_file(file.path), [](const std::string& s) { io::parse_npy(s, "f"); });
}
TEST(FuzzModels, ModelFile) {
  TemporaryFile file("fuzz.safetensors");
  io::save_model(file.path, io::parse_onnx(small_onnx(), "f"));
  fuzz(read_file(file.path), [](const std::string& s) { io::parse_model(s, "f"); });
}
TEST(FuzzModels, Onnx) {
  fuzz(small_onnx(), [](const std::string& s) { io::parse_onnx(s, "f"); });
}

}  // namespace
}  // namespace vitrine
