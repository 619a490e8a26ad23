// Check 22: safetensors good and bad; model files; .npy.
#include <nlohmann/json.hpp>

#include "engine/ops/conv2d.h"
#include "nn/io/bytes.h"
#include "nn/io/model_file.h"
#include "nn/io/npy.h"
#include "nn/io/safetensors.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/io_testing.h"

namespace vitrine {
namespace {

using io::TensorFile;

std::string with_header(const std::string& json, size_t data_bytes) {
  uint64_t n = json.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + json + std::string(data_bytes, '\1');
}
std::string safetensors_error(const std::string& bytes) {
  return error_of([&] { io::parse_safetensors(bytes, "f"); });
}

TEST(Safetensors, Fixtures) {
  auto expected = nlohmann::json::parse(read_file(golden("io/safetensors_expected.json")));
  for (auto* name : {"tiny.safetensors", "tiny_unaligned_header.safetensors"}) {
    TensorFile file = io::read_safetensors(golden(cat("io/", name)));
    ASSERT_EQ(file.tensors.size(), 7u);
    for (const auto& [key, tensor] : file.tensors) {
      std::vector<double> values;
      for (const auto& v : expected.at(key)) values.push_back(v.is_boolean() ? v.get<bool>() : v.get<double>());
      EXPECT_EQ(tensor.values<double>(), values) << key;
    }
    EXPECT_EQ(file.tensors[0].first, "conv1.weight");
    EXPECT_EQ(file.tensors[0].second.shape(), Shape({2, 1, 2, 2}));
    EXPECT_EQ(file.tensors[1].second.shape(), Shape());
  }
  EXPECT_EQ(io::read_safetensors(golden("io/tiny.safetensors")).metadata.at("format"), "pt");
  for (auto* name : {"bad_header_len.safetensors", "bad_truncated.safetensors"})
    EXPECT_TRUE(contains(error_of([&] { io::read_safetensors(golden(cat("io/", name))); }), name));
}

TEST(Safetensors, RoundTripOfEveryDtype) {
  TensorFile file;
  file.metadata = {{"who", "Vitrine \"quoted\" \xc3\xa9\n"}, {"empty", ""}};
  for (int d = 0; d <= static_cast<int>(Dtype::b8); ++d) {
    Tensor t = Tensor::empty({{2, 3}, static_cast<Dtype>(d)});
    for (int64_t i = 0; i < t.meta().nbytes(); ++i) static_cast<uint8_t*>(t.raw())[i] = static_cast<uint8_t>(i % 2);
    file.tensors.emplace_back(info(t.dtype()).name, t);
  }
  file.tensors.emplace_back("scalar", Tensor::scalar(2.5));
  file.tensors.emplace_back("none", Tensor::zeros({0, 4}));
  TemporaryFile out("all.safetensors"), again("again.safetensors");
  io::write_safetensors(out.path, file);
  TensorFile back = io::read_safetensors(out.path);
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), file.tensors.size());
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    EXPECT_EQ(back.tensors[i].first, file.tensors[i].first);
    EXPECT_EQ(str(back.tensors[i].second.meta()), str(file.tensors[i].second.meta()));
    EXPECT_EQ(io::bytes_of(back.tensors[i].second), io::bytes_of(file.tensors[i].second));
  }
  io::write_safetensors(again.path, back);
  std::string bytes = read_file(out.path);
  EXPECT_EQ(read_file(again.path), bytes);
  EXPECT_EQ(static_cast<uint8_t>(bytes[0]) % 8, 0);  // the data starts at a multiple of 8
}

TEST(Safetensors, RefusesWithReason) {
  auto one = [](const std::string& fields) { return "{\"a\":{" + fields + "}}"; };
  const std::pair<std::string, const char*> cases[] = {
      {"", "byte 0: expected the header length"},
      {with_header("[]", 0), "expected '{'"},
      {with_header("{\"a\":", 0), "not valid JSON"},
      {with_header(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), 5), "5 bytes of data, expected 4"},
      {with_header(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), 8), "starts at 4, expected 0"},
      {with_header(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), 4), "4 bytes of data, expected 8"},
      {with_header(one(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])"), 4), "dtype 'f32', expected 'F32'"},
      {with_header(one(R"("dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1])"), 1), "'F8_E4M3' is not supported"},
      {with_header(one(R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])"), 1), "expected a count"},
      {with_header(one(R"("dtype":"U8","shape":[1.0],"data_offsets":[0,1])"), 1), "expected a count"},
      {with_header(one(R"("dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])"), 0), "is not supported"},
      {with_header(one(R"("dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[0,1])"), 1), "at most 6 extents"},
      {with_header(one(R"("dtype":"U8","shape":[1],"data_offsets":[1,0])"), 1), "expected [begin,end]"},
      {with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2),
       "appears twice"},
      {with_header(R"({"__metadata__":{"k":1}})", 0), "expected a string"},
      {with_header(std::string(1000000, '['), 0), "expected '{'"},
      {with_header("{\"a\":" + std::string(1000000, '['), 0), "nested deeper than 3 levels"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10), "expected at most 100000000"},
  };
  for (const auto& [bytes, text] : cases)
    EXPECT_TRUE(contains(safetensors_error(bytes), text)) << text << " / " << safetensors_error(bytes);
  TemporaryFile out("bad.safetensors");
  Tensor t = Tensor::zeros({1});
  EXPECT_TRUE(contains(error_of([&] { io::write_safetensors(out.path, {{{"a", t}, {"a", t}}, {}}); }), "name is taken"));
  EXPECT_TRUE(contains(error_of([&] { io::write_safetensors(out.path, {{{"\xff", t}}, {}}); }), "UTF-8"));
  EXPECT_TRUE(contains(error_of([&] { io::write_safetensors("/no/such/folder/x", {{{"a", t}}, {}}); }), "cannot be created"));
  EXPECT_FALSE(std::filesystem::exists(out.path));
}

TEST(ModelFile, RoundTrip) {
  Model m;
  Graph& g = m.graph;
  Id x = g.add_value(Value::Kind::input, "data", {{1, 4, 4, 3}});
  Id w = g.add_value(Value::Kind::parameter, "conv.weight", {{2, 3, 3, 3}});
  g.outputs = g.add_node(op_named("conv2d"), std::make_shared<Conv2dAttrs>(2, 1), {x, w});
  m.tensors["conv.weight"] = Tensor::full({2, 3, 3, 3}, 0.25);
  m.info = {{"mean", "127.5"}, {"bgr", "0"}};
  TemporaryFile out("model.safetensors");
  io::save_model(out.path, m);
  Model back = io::load_model(out.path);
  EXPECT_EQ(print(back.graph), print(g));
  EXPECT_EQ(back.info, m.info);
  expect_same(back.tensors.at("conv.weight"), m.tensors.at("conv.weight"), "weights");
  std::string bytes = read_file(out.path);
  io::save_model(out.path, back);
  EXPECT_EQ(read_file(out.path), bytes);

  EXPECT_TRUE(contains(error_of([] { io::load_model(golden("io/tiny.safetensors")); }), "tensors without a network"));
  TensorFile file = io::read_safetensors(out.path);
  file.tensors[0].second = Tensor::zeros({2, 3, 3, 4});
  io::write_safetensors(out.path, file);
  EXPECT_TRUE(contains(error_of([&] { io::load_model(out.path); }), "conv.weight is f32[2,3,3,4], expected f32[2,3,3,3]"));
}

TEST(Npy, RoundTrip) {
  TemporaryFile out("a.npy");
  for (const Tensor& t : {Tensor::from({2, 3}, std::vector<float>{1, 2, 3, 4, 5, -6.5f}), Tensor::from({2}, std::vector<double>{1, 1e300}),
                          Tensor::from({}, std::vector<int64_t>{INT64_MIN}), Tensor::from({1, 2}, std::vector<int32_t>{-1, 7}),
                          Tensor::from({3}, std::vector<uint8_t>{0, 128, 255}), Tensor::zeros({0, 512})}) {
    io::write_npy(out.path, t);
    expect_same(io::read_npy(out.path), t, str(t.meta()));
    EXPECT_EQ(read_file(out.path).find('\n') % 64, 63u);
  }
}

TEST(Npy, RowsAreReadOneByOneInEitherPrecision) {
  const data::Scratch s;
  for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
    io::write_npy(s / "rows.npy", Tensor::from({2, 3}, std::vector<double>{1, 2, 3, 4, 5, 6}).to(dtype));
    io::NpyRows rows(s / "rows.npy");
    std::vector<float> row(3);
    rows.read(1, row.data());
    EXPECT_EQ(row, (std::vector<float>{4, 5, 6}));
    rows.read(0, row.data());
    EXPECT_EQ(row, (std::vector<float>{1, 2, 3}));
    std::filesystem::resize_file(s / "rows.npy", std::filesystem::file_size(s / "rows.npy") - 1);
    EXPECT_THROW(io::NpyRows(s / "rows.npy"), Error) << "a part of a file";
  }
}

TEST(Npy, VersionsAndErrors) {
  auto file = [](int version, const std::string& header, size_t data) {
    std::string bytes = "\x93NUMPY" + std::string(1, static_cast<char>(version)) + std::string(1, '\0');
    uint32_t n = static_cast<uint32_t>(header.size());
    return bytes + std::string(reinterpret_cast<char*>(&n), version == 1 ? 2 : 4) + header + std::string(data, '\0');
  };
  Tensor t = io::parse_npy(file(2, "{'shape':(2,3,),\"descr\":\"<f4\",'fortran_order':False}   \n", 24), "f");
  EXPECT_EQ(str(t.meta()), "f32[2,3]");
  const std::pair<std::string, const char*> cases[] = {
      {"NUMPY", "byte 0: expected the .npy magic"},
      {file(3, "{}", 0), "version 3.0, expected 1.0 or 2.0"},
      {file(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", 4), "expected C order"},
      {file(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4), "dtype '>f4'"},
      {file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4), "4 bytes of data, expected 8"},
      {file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4), "is not supported"},
      {file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 4), "expected an extent"},
      {file(1, "{'descr': '<f4', 'fortran_order': False, }", 4), "expected the keys"},
      {file(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4), "expected '''"},
      {file(1, "{'descr': '<f4', 'descr': '<f4'", 4), "appears twice"},
  };
  for (const auto& [bytes, text] : cases) {
    std::string message = error_of([&, &bytes = bytes] { io::parse_npy(bytes, "f"); });
    EXPECT_TRUE(contains(message, text)) << message;
  }
}

}  // namespace
}  // namespace vitrine
