// Check 21: PyTorch checkpoints, both containers, protocols 2 to 5, nested; and files that must be refused.
#include <map>
#include <nlohmann/json.hpp>

#include "nn/io/pth.h"
#include "nn/io/unpickle.h"
#include "tests/unit/io_testing.h"

namespace vitrine {
namespace {

using io::StateDict;
using Json = nlohmann::ordered_json;

StateDict read(const std::string& name) { return io::read_pth(golden("io/" + name)); }

void expect_equal(const StateDict& a, const StateDict& b, const std::string& what) {
  ASSERT_EQ(a.entries.size(), b.entries.size()) << what;
  for (size_t i = 0; i < a.entries.size(); ++i) {
    EXPECT_EQ(a.entries[i].first, b.entries[i].first) << what;
    expect_same(a.entries[i].second, b.entries[i].second, what + " " + a.entries[i].first);
  }
}

TEST(Pth, AllTensorsOfTheFixture) {
  const std::map<std::string, Dtype> dtypes = {{"float32", Dtype::f32},   {"float64", Dtype::f64}, {"float16", Dtype::f16},
                                               {"bfloat16", Dtype::bf16}, {"int64", Dtype::i64},   {"int32", Dtype::i32},
                                               {"uint8", Dtype::u8},      {"bool", Dtype::b8}};
  Json expected = Json::parse(read_file(golden("io/pth_expected.json")));
  StateDict state = read("backbone.pth");
  ASSERT_EQ(state.entries.size(), 18u);
  ASSERT_EQ(expected.size(), 18u);
  for (const auto& [name, tensor] : state.entries) {
    ASSERT_TRUE(expected.contains(name)) << name;
    const Json& e = expected[name];
    EXPECT_EQ(tensor.shape(), Shape(e["shape"].get<std::vector<int64_t>>())) << name;
    EXPECT_EQ(tensor.dtype(), dtypes.at(e["dtype"])) << name;
    std::vector<double> values;
    for (const Json& v : e["values"]) values.push_back(v.is_boolean() ? v.get<bool>() : v.get<double>());
    EXPECT_EQ(tensor.values<double>(), values) << name;
  }
}

TEST(Pth, LegacyEqualsZip) { expect_equal(read("backbone_legacy.pth"), read("backbone.pth"), "legacy"); }

TEST(Pth, DataParallelPrefixIsRemoved) {
  StateDict all = read("backbone.pth"), parallel = read("dataparallel.pth"), buffer = read("from_buffer.pth");
  ASSERT_EQ(parallel.entries.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(parallel.entries[i].first, all.entries[i].first);
    expect_same(parallel.entries[i].second, all.entries[i].second, all.entries[i].first);
  }
  ASSERT_FALSE(buffer.entries.empty());
  expect_same(buffer.entries[0].second, all.entries[0].second, "from_buffer");
}

StateDict made_state() {  // what make_pth.py calls state()
  std::vector<float> w(12), w_t;
  for (int i = 0; i < 12; ++i) w[static_cast<size_t>(i)] = static_cast<float>(i);
  for (int c = 0; c < 4; ++c)
    for (int r = 0; r < 3; ++r) w_t.push_back(w[static_cast<size_t>(4 * r + c)]);
  return {{{"w", Tensor::from({3, 4}, w)},
           {"w_t", Tensor::from({4, 3}, w_t)},
           {"tail", Tensor::from({5}, std::vector<float>{7, 8, 9, 10, 11})},
           {"steps", Tensor::from({}, std::vector<int64_t>{-1234567890123})}}};
}

TEST(Pth, EveryProtocolInBothContainers) {
  for (int p = 2; p <= 5; ++p) {
    expect_equal(read(cat("protocol", p, ".pth")), made_state(), cat("protocol ", p));
    expect_equal(read(cat("protocol", p, "_legacy.pth")), made_state(), cat("legacy, protocol ", p));
  }
}

TEST(Pth, NestedCheckpoints) {
  for (auto* name : {"nested_insightface.pth", "nested_net.pth", "nested_deep.pth", "nested_only.pth"})
    expect_equal(read(name), made_state(), name);
  std::string message = error_of([] { read("bad_ambiguous.pth"); });
  EXPECT_TRUE(contains(message, "one, two")) << message;
}

TEST(Pth, WhatStandsBesideTheWeightsIsLeftOut) {
  for (auto* name : {"beside2.pth", "beside2_legacy.pth", "beside4.pth", "beside4_legacy.pth"})
    expect_equal(read(name), made_state(), name);
}

TEST(Pth, ADictOfAUsualNameWithoutTensorsIsPassedOver) { expect_equal(read("named_model.pth"), made_state(), "named_model.pth"); }

TEST(Pth, PrefixesOfWrappersAreRemovedAsOftenAsAllNamesHaveThem) {
  expect_equal(read("wrapped.pth"), made_state(), "wrapped.pth");
  const auto first = [](std::vector<std::string> names) {
    StateDict state;
    for (auto& name : names) state.entries.emplace_back(name, Tensor());
    state = io::unwrapped(state);
    return state.entries.empty() ? "none" : state.entries[0].first;
  };
  EXPECT_EQ(first({"_orig_mod.module.a", "_orig_mod.module.b"}), "a");
  EXPECT_EQ(first({"module.module.a", "module.b"}), "module.a");
  EXPECT_EQ(first({"module.a", "b"}), "module.a");
  EXPECT_EQ(first({"n_averaged", "module.a"}), "a") << "as averaged weights are saved";
  EXPECT_EQ(first({}), "none");
}

TEST(Pth, RefusesWithReason) {
  const std::pair<const char*, const char*> cases[] = {
      {"bad_attack.pth", "data.pkl: byte 22: global 'posix system' is not allowed"},
      {"bad_big_endian.pth", "byteorder is 'big', expected little"},
      {"bad_big_endian_legacy.pth", "expected little_endian True"},
      {"bad_compressed.pth", "is compressed, expected it stored"},
      {"bad_stride.pth", "tensor 'x': shape [3,4] stride [5,1] offset 0 does not fit a storage of 12 elements"},
      {"bad_expanded.pth", "tensor 'x': shape [1048576,262144] repeats elements of a storage of 1"},
      {"tiny.safetensors", "byte 0: expected a zip archive (PK) or a pickle"},
      {"no_such_file.pth", "cannot be opened"},
  };
  for (auto [file, text] : cases) {
    std::string message = error_of([&] { read(file); });
    EXPECT_TRUE(contains(message, text)) << message;
    EXPECT_TRUE(contains(message, file)) << message;
  }
}

// Loops, deep nesting and copies of copies cost a hostile pickle few bytes; they must not cost us a stack or the memory.
TEST(Pth, HostilePickles) {
  using namespace std::string_literals;
  auto pickle = [](const std::string& body) { return io::unpickle("\x80\x02" + body + ".", 0, "x"); };
  EXPECT_EQ(pickle("]q\0h\0a"s).values.size(), 1u);  // a list that holds itself
  std::string deep(200000, ']');
  EXPECT_EQ(pickle(deep + std::string(deep.size() - 1, 'a')).values.size(), deep.size());
  std::string message = error_of([&] { pickle("h\7"s); });
  EXPECT_TRUE(contains(message, "byte 2: memo 7 was never stored")) << message;
  message = error_of([&] { pickle("(K\1"s); });
  EXPECT_TRUE(contains(message, "values are left on the stack")) << message;
  message = error_of([&] { pickle("}K\1a"s); });
  EXPECT_TRUE(contains(message, "expected a list below the items")) << message;
  message = error_of([&] { pickle(std::string((size_t{1} << 20) + 1, 'N')); });
  EXPECT_TRUE(contains(message, "more than")) << message;
  // OrderedDict(list of 65536 pairs), again and again.
  std::string many = "ccollections\nOrderedDict\nq\0]q\1("s;
  for (int i = 0; i < 65536; ++i) many += "K\1K\1\x86";
  many += "e0";
  for (int i = 0; i < 10000; ++i) many += "h\0h\1\x85R0"s;
  message = error_of([&] { pickle(many + "N"); });
  EXPECT_TRUE(contains(message, "items")) << message;
}

}  // namespace
}  // namespace vitrine
