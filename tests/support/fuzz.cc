#include "tests/support/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "data/align.h"
#include "data/bin_set.h"
#include "data/codec.h"
#include "data/record_set.h"
#include "data/sampler.h"
#include "engine/core/rng.h"
#include "engine/ops.h"
#include "eval/decisions.h"
#include "eval/ijb.h"
#include "eval/pairs.h"
#include "nn/io/model_file.h"
#include "nn/io/npy.h"
#include "nn/io/onnx.h"
#include "nn/io/onnx.pb.h"
#include "nn/io/onnx_tensor.h"
#include "nn/io/pth.h"
#include "nn/io/safetensors.h"
#include "prune/plan.h"
#include "quant/lower.h"
#include "quant/ops/fake_quant.h"
#include "tests/golden.h"

namespace vitrine::fuzz {
namespace {

using Strings = std::vector<std::string>;

// --- files ------------------------------------------------------------------------------------------------------------------------------
// A file that exists in memory only, for parsers that want a path.
struct MemoryFile {
  explicit MemoryFile(const std::string& bytes) : descriptor(memfd_create("fuzz", 0)), path(cat("/proc/self/fd/", descriptor)) {
    for (size_t at = 0; at < bytes.size();) {
      ssize_t n = ::write(descriptor, bytes.data() + at, bytes.size() - at);
      CHECK(n > 0, path, ": cannot be written");
      at += static_cast<size_t>(n);
    }
  }
  ~MemoryFile() { ::close(descriptor); }
  int descriptor;
  std::string path;
};

// What `write` leaves in a file called `name`, in a folder of its own.
template <class F>
std::string written(const std::string& name, F write) {
  auto folder = std::filesystem::temp_directory_path() / cat("vitrine_fuzz_", getpid());
  std::filesystem::create_directories(folder);
  write((folder / name).string());
  std::string bytes = read_file((folder / name).string());
  std::filesystem::remove_all(folder);
  return bytes;
}

Strings goldens(const std::string& prefix, const Strings& names) {
  Strings out;
  for (auto& name : names) out.push_back(read_file(golden(prefix + name)));
  return out;
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

// A packed model: a convolution and a matrix of 3-bit codes.
std::string small_packed() {
  TensorMap t{
      {"r", Tensor::from({2}, std::vector<float>{-1, 1})}, {"w", Tensor::full({3, 2, 2, 2}, 0.5)}, {"fc", Tensor::full({2, 27}, 0.25)}};
  for (auto* name : {"w", "fc"}) t[name].data<float>()[0] = -1;
  std::vector<NamedTensor> named;
  for (auto& [name, tensor] : t) named.push_back({name, tensor, name == "r" ? Value::Kind::buffer : Value::Kind::parameter});
  Model m{trace(named, Tensor::zeros({1, 4, 4, 2}),
                [&](const Tensor& x) {
                  auto grid = [&](const Tensor& v) { return quant::fake_quant(v, t["r"], 8); };
                  Tensor y = conv2d(grid(x), quant::fake_quant_weight(t["w"], 3, true));
                  return matmul(flatten(grid(y)), quant::fake_quant_weight(t["fc"], 3, true), false, true);
                }),
          t,
          {}};
  return written("packed.safetensors", [&](const std::string& path) { io::save_model(path, quant::lower(m)); });
}

// Ten pairs of each class, as CPLFW writes them.
std::string cplfw_list() {
  std::string text = "name same_person\r\n";
  for (int label : {1, 0})
    for (int i = 0; i < 10; ++i) text += cat("A", i, "_1.jpg ", label, "\r\n", label ? "A" : "B", i, "_2.jpg ", label, "\r\n");
  return text;
}

// Three images of two identities, one of them holding the magic number; with identity records, or without.
std::string small_records(bool identities) {
  return written("train.rec", [&](const std::string& path) {
    data::RecordWriter out(std::filesystem::path(path).replace_extension("").string());
    Strings images = goldens("data/", {"gray1.png", "gray8.png"});
    images.push_back(
        "abcd\x0a\x23\xd7\xce"
        "efgh\x0a\x23\xd7\xce\x0a\x23\xd7\xce"
        "ijk");
    for (uint64_t i = 0; i < 3; ++i) out.write(i + 1, data::pack({.labels = {i < 2 ? 0.0f : 1.0f}, .id = i + 1, .bytes = images[i]}));
    if (identities) {
      out.write(4, data::pack({.labels = {1, 3}, .id = 4}));
      out.write(5, data::pack({.labels = {3, 4}, .id = 5}));
      out.write(0, data::pack({.labels = {4, 6}, .id = 0, .id2 = 1}));
    }
    out.finish();
  });
}

// CFP as distributed, of 21 files, in which one may be replaced. A folder belongs to the process that made it: `make fuzz` forks.
class CfpFolder {
 public:
  explicit CfpFolder(const std::string& name) : root_(std::filesystem::temp_directory_path() / cat("vitrine_fuzz_", name, getpid())) {
    put("Pair_list_F.txt", paths());
    for (int fold = 1; fold <= 10; ++fold) {
      put(cat("Split/FF/", fold < 10 ? "0" : "", fold, "/same.txt"), split(fold, true));
      put(cat("Split/FF/", fold < 10 ? "0" : "", fold, "/diff.txt"), split(fold, false));
    }
  }
  ~CfpFolder() {
    if (mine()) std::filesystem::remove_all(root_);
  }
  bool mine() const { return getpid() == process_; }
  static std::string paths() {
    std::string text;
    for (int i = 1; i <= 40; ++i) text += cat(i, " ../Data/", (i + 1) / 2, "/", i, ".jpg\r\n");
    return text;
  }
  static std::string split(int fold, bool same) {
    const int first = 4 * fold - 3, step = same ? 1 : 2;
    return cat(first, ",", first + step, "\n", first + 3 - step, ",", first + 3, "\n");
  }
  void read_with(const std::string& file, const std::string& text) const {
    std::ofstream(root_ / "Protocol" / file, std::ios::binary) << text;
    eval::read_cfp(root_.string(), eval::CfpKind::kFrontalFrontal);
  }

 private:
  void put(const std::string& file, const std::string& text) {
    const auto path = root_ / "Protocol" / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  const pid_t process_ = getpid();
  const std::filesystem::path root_;
};

void read_records(const std::string& bytes) {
  MemoryFile file(bytes);
  data::RecordSet set(file.path);
  for (int64_t i = 0; i < std::min<int64_t>(set.size(), 4); ++i) {
    try {
      set.image(i);  // damage to one image leaves the others readable
    } catch (const Error&) {
    }
  }
}

void read_bin(const std::string& bytes) {
  data::BinSet set(bytes, "fuzz");
  for (int64_t i = 0; i < std::min<int64_t>(set.size(), 4); ++i) {
    try {
      set.image(i);
    } catch (const Error&) {
    }
  }
}

void decode(const std::string& bytes) {
  data::Image image = data::decode(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "fuzz");
  bool whole = image.pixels.size() == size_t(image.height) * size_t(image.width) * 3;
  if (!whole) throw std::logic_error("an image without all its pixels");
}

std::string encoded_png() {
  data::Image image(30, 40);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7 / 5);
  auto bytes = data::encode_png(image);
  return {bytes.begin(), bytes.end()};
}

// CRC-32 of each chunk (PNG specification, annex D).
void repair_png(std::string& s) {
  auto big_endian = [&](size_t at) {
    uint32_t v = 0;
    for (size_t i = 0; i < 4; ++i) v = v << 8 | static_cast<uint8_t>(s[at + i]);
    return v;
  };
  for (size_t at = 8; at + 12 <= s.size();) {
    size_t length = big_endian(at);
    if (length > s.size() - at - 12) return;
    uint32_t crc = ~0u;
    for (size_t i = at + 4; i < at + 8 + length; ++i) {
      crc ^= static_cast<uint8_t>(s[i]);
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    for (size_t i = 0; i < 4; ++i) s[at + 8 + length + i] = static_cast<char>(~crc >> (24 - 8 * i));
    at += 12 + length;
  }
}

// --- mutation ---------------------------------------------------------------------------------------------------------------------------
// A number next to one end of the range of 1, 2, 4 or 8 bytes, or a small one; in either byte order.
std::string extreme(Philox& rng) {
  int bytes = 1 << rng.below(4);
  uint64_t top = ~uint64_t{0} >> (64 - 8 * bytes), ends[] = {0, top, top >> 1, (top >> 1) + 1, 1 + rng.below(256)};
  uint64_t value = ends[rng.below(5)] + rng.below(3) - 1;
  std::string s;
  for (int i = 0; i < bytes; ++i) s += static_cast<char>(value >> 8 * i);
  if (rng.below(2)) std::reverse(s.begin(), s.end());
  return s;
}

constexpr const char* kDecimals[] = {"0",
                                     "-1",
                                     "1",
                                     "2147483648",
                                     "4294967295",
                                     "9223372036854775807",
                                     "18446744073709551616",
                                     "-9223372036854775808",
                                     "1e308",
                                     "1e999",
                                     "nan",
                                     "-inf",
                                     "0.5",
                                     "00000000000000000000000001",
                                     ""};

void edit(std::string& s, const Target& target, Philox& rng) {
  size_t at = rng.below(s.size()), n = 1 + rng.below(std::min<size_t>(rng.below(8) ? 16 : 4096, s.size() - at));
  switch (rng.below(11)) {
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
    case 5:
      s.replace(rng.below(s.size()), n, s.substr(at, n));
      break;
    case 6:
      s.insert(at, 1 + rng.below(8), static_cast<char>(rng.next()));
      break;
    case 7: {
      const std::string& other = target.seeds[rng.below(target.seeds.size())];
      size_t from = rng.below(other.size());
      if (rng.below(2))
        s.replace(at, n, other.substr(from, n));
      else
        s = s.substr(0, at) + other.substr(from);
      break;
    }
    case 8:
      if (rng.below(4) == 0) s.resize(at);
      break;
    case 9: {  // a decimal number: the digits around `at`, if there are any
      size_t begin = s.find_first_of("0123456789", at), end = std::min(s.find_first_not_of("0123456789", begin), s.size());
      if (begin != s.npos) s.replace(begin, end - begin, kDecimals[rng.below(std::size(kDecimals))]);
      break;
    }
    default: {
      std::string number = extreme(rng);
      s.replace(at, number.size(), number);
      break;
    }
  }
}

std::vector<Target> make_targets() {
  std::vector<Target> t;
  auto text = [&](const char* name, const Strings& seeds, auto parse) { t.push_back({name, seeds, parse, false}); };
  t.push_back({"pth",
               goldens("io/", {"nested_insightface.pth", "beside4.pth", "backbone_legacy.pth", "protocol4_legacy.pth",
                               "protocol2_legacy.pth", "protocol5.pth"}),
               [](const std::string& s) { io::parse_pth(s, "fuzz"); }});
  t.push_back({"onnx", {small_onnx()}, [](const std::string& s) { io::parse_onnx(s, "fuzz"); }});
  t.push_back({"safetensors", goldens("io/", {"tiny.safetensors", "tiny_unaligned_header.safetensors"}),
               [](const std::string& s) { io::parse_safetensors(s, "fuzz"); }});
  auto model = [](const std::string& path) { io::save_model(path, io::parse_onnx(small_onnx(), "fuzz")); };
  t.push_back({"model", {written("model.safetensors", model)}, [](const std::string& s) { io::parse_model(s, "fuzz"); }});
  t.push_back({"packed", {small_packed()}, [](const std::string& s) { io::parse_model(s, "fuzz"); }});
  auto array = [](const std::string& path) { io::write_npy(path, Tensor::full({3, 5}, 1)); };
  t.push_back({"npy", {written("array.npy", array)}, [](const std::string& s) { io::parse_npy(s, "fuzz"); }});
  text("records", {small_records(true), small_records(false)}, read_records);
  text("index", {"1\t0\n2\t8816\n3\t17632\n0\t44116\n"}, [](const std::string& s) { data::read_index(MemoryFile(s).path); });
  t.push_back(
      {"bin",
       goldens("data/bin/small_", {"arrays_protocol5.bin", "columns_protocol3.bin", "flag_array.bin", "flag_scalars.bin",
                                   "numpy2_protocol2.bin", "py2str.bin", "py3_protocol2.bin", "py3_protocol3.bin", "py3_protocol5.bin"}),
       read_bin});
  t.push_back({"jpeg", goldens("data/", {"small.jpg", "progressive.jpg", "gray.jpg"}), decode});
  Strings pngs =
      goldens("data/", {"rgba16_interlaced.png", "palette8_transparent.png", "gray1.png", "gray8_transparent.png", "gray16.png"});
  pngs.push_back(encoded_png());
  t.push_back({"png", pngs, decode, true, repair_png});
  text("pairs",
       {read_file(golden("eval/pairs.txt")), read_file(golden("eval/pair_SLLFW_mini.txt")), read_file(golden("eval/pairs_CALFW_mini.txt")),
        cplfw_list()},
       [](const std::string& s) { eval::parse_pairs(s, "fuzz"); });
  for (auto& [name, file, good] : {std::tuple("cfp_paths", "Pair_list_F.txt", CfpFolder::paths()),
                                   std::tuple("cfp_split", "Split/FF/01/same.txt", CfpFolder::split(1, true))}) {
    const auto folder = std::make_shared<std::unique_ptr<CfpFolder>>();
    text(name, {good}, [=, name = std::string(name), file = std::string(file)](const std::string& s) {
      if (!*folder || !(*folder)->mine()) *folder = std::make_unique<CfpFolder>(name);
      (*folder)->read_with(file, s);
    });
  }
  const char* ids = "1.jpg 7 100\n2.jpg 7 -200\r\n3.jpg 9 200\n";
  const char* points =
      "1.jpg 46.06 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.45 98.648 0.59\n2.jpg 1 2 3 4 5 6 7 8 9 10 1\n"
      "3.jpg 1e1 -2 3 4 5 6 7 8 9 10 0.1\n";
  text("ijb_ids", {ids}, [=](const std::string& s) { eval::read_faces(MemoryFile(s).path, MemoryFile(points).path); });
  text("ijb_points", {points}, [=](const std::string& s) { eval::read_faces(MemoryFile(ids).path, MemoryFile(s).path); });
  const auto faces = std::make_shared<eval::FaceList>(eval::read_faces(MemoryFile(ids).path, MemoryFile(points).path));
  text("ijb_pairs", {"7 9 0\n9 7 0\r\n7\t7 1\n\n9 9 1\n"},
       [=](const std::string& s) { eval::read_template_pairs(MemoryFile(s).path, *faces); });
  text("ijb_gallery", {"TEMPLATE_ID,SUBJECT_ID,FILENAME\n7,500,a.jpg\n7,500,b.jpg\n\"9\",501,c.jpg\n"},
       [=](const std::string& s) { eval::read_enrolment(MemoryFile(s).path, *faces); });
  text("decisions", {"image\timage\tsame\tfold\tdistance\tcorrect\na/1.jpg\ta/2.jpg\t1\t1\t0.5\t1\na/1.jpg\tb/2.jpg\t0\t10\t1.9e0\t0\n"},
       [](const std::string& s) { eval::read_decisions(MemoryFile(s).path); });
  text("landmarks", {"a/1.png 30.5 50 70 50 50 70 35 90 65 90\nb/2.png 1 2 3e1 4 5 6 7 8 9 -10\n"},
       [](const std::string& s) { data::read_landmarks(MemoryFile(s).path); });
  text("batches", {"1 -2 3 17\n0 5 99 -100\n"}, [](const std::string& s) { data::read_batches(MemoryFile(s).path, 100); });
  text("plan", {"vitrine plan 1\n# stem\nconv1.weight 64: 0-12 14 17-63\nfc1.weight 12: 0 2 4 6-11\n"},
       [](const std::string& s) { prune::parse_plan(s, "fuzz"); });
  return t;
}

}  // namespace

const std::vector<Target>& targets() {
  static const std::vector<Target> all = make_targets();
  return all;
}

std::string mutant(const Target& target, uint64_t number) {
  Philox rng(2024, number);
  std::string s = target.seeds[rng.below(target.seeds.size())];
  for (uint64_t edits = 1 + rng.below(4); edits > 0 && !s.empty(); --edits) edit(s, target, rng);
  if (target.repair && rng.below(4)) target.repair(s);
  return s;
}

Outcome run(const Target& target, const std::string& input) {
  constexpr int64_t kMaxTensors = 1 << 20;  // bytes, for files of a few kilobytes
  Outcome out;
  reset_peak(Device::cpu);
  try {
    target.parse(input);
    out.read = true;
  } catch (const Error& e) {
    out.error = e.what();
    if (out.error.empty() || out.error.size() >= 1000 || out.error.find('\n') != std::string::npos)
      out.finding = cat("an Error that is not one short line: ", out.error);
  } catch (const std::exception& e) {
    out.finding = cat("an exception that is no Error: ", e.what());
  }
  int64_t bytes = memory_use(Device::cpu).peak - memory_use(Device::cpu).live;
  if (bytes >= kMaxTensors) out.finding = cat(bytes, " bytes of tensors");
  return out;
}

}  // namespace vitrine::fuzz
