#include "nn/io/unpickle.h"

#include "nn/io/bytes.h"

namespace vitrine::io {
namespace {

using Value = Pickle::Value;
using Kind = Value::Kind;
constexpr size_t kMaxKey = 255;  // of a storage

constexpr const char* kOrderedDict = "collections OrderedDict";
constexpr const char* kRebuildTensor = "torch._utils _rebuild_tensor_v2";
constexpr const char* kRebuildParameter = "torch._utils _rebuild_parameter";
constexpr std::pair<const char*, Dtype> kStorages[] = {
    {"torch FloatStorage", Dtype::f32}, {"torch DoubleStorage", Dtype::f64},    {"torch HalfStorage", Dtype::f16},
    {"torch LongStorage", Dtype::i64},  {"torch BFloat16Storage", Dtype::bf16}, {"torch IntStorage", Dtype::i32},
    {"torch ShortStorage", Dtype::i16}, {"torch CharStorage", Dtype::i8},       {"torch ByteStorage", Dtype::u8},
    {"torch BoolStorage", Dtype::b8},
};
// What lies beside state dicts in checkpoints, and where numpy and Python 2 have it. It stands for nothing here: dicts are dicts, every
// other object is opaque.
constexpr std::pair<std::string_view, std::string_view> kHarmless[] = {
    {"__builtin__", " dict float frozenset int list set "},
    {"builtins", " dict float frozenset int list set "},
    {"_codecs", " encode "},
    {"argparse", " Namespace "},
    {"collections", " Counter defaultdict "},
    {"numpy", " dtype ndarray "},
    {"numpy._core.multiarray", " _reconstruct scalar "},
    {"numpy.core.multiarray", " _reconstruct scalar "},
    {"torch", " Size bfloat16 bool device float16 float32 float64 int16 int32 int64 int8 uint8 "},
};
bool is_harmless(const std::string& global) {
  for (const auto& [module, names] : kHarmless)
    if (global.starts_with(module) && names.find(global.substr(module.size()) + " ") != names.npos) return true;
  return false;
}
const Dtype* storage_dtype(const std::string& global) {
  for (const auto& [name, dtype] : kStorages)
    if (global == name) return &dtype;
  return nullptr;
}

int64_t integer(const Value& v, const char* what) {
  CHECK(v.kind == Kind::integer, "expected ", what);
  return v.integer;
}
std::vector<int64_t> integers(const Pickle& p, const Value& v, const char* what) {
  CHECK(v.kind == Kind::tuple, "expected ", what);
  CHECK(v.items.size() <= Shape::kMaxRank, "expected ", what, " of at most ", Shape::kMaxRank, " extents");
  std::vector<int64_t> out;
  for (int item : v.items) out.push_back(integer(p[item], what));
  return out;
}

class Torch : public PickleMeaning {
 public:
  bool allows(const std::string& name) const override {
    return name == kOrderedDict || name == kRebuildTensor || name == kRebuildParameter || storage_dtype(name) || is_harmless(name);
  }
  Value call(const Pickle& p, const std::string& name, const std::vector<int>& args) override {
    if (name == kOrderedDict) return ordered_dict(p, args);
    if (name == kRebuildParameter) {  // (tensor, requires_grad, hooks)
      CHECK(args.size() == 3, "_rebuild_parameter: expected 3 arguments");
      CHECK(is_tensor(p[args[0]]), "expected a tensor");
      return p[args[0]];
    }
    if (is_harmless(name)) return {.kind = name.starts_with("collections ") ? Kind::dict : Kind::object};
    CHECK(name == kRebuildTensor, "global '", name, "' cannot be called");
    // (storage, offset, size, stride, requires_grad, hooks[, metadata])
    CHECK(args.size() == 6 || args.size() == 7, "_rebuild_tensor_v2: expected 6 arguments");
    CHECK(p[args[0]].kind == Kind::object && p[args[0]].text == kStorage, "expected a storage");
    View view{static_cast<int>(p[args[0]].integer), integer(p[args[1]], "a storage offset"), integers(p, p[args[2]], "a size"),
              integers(p, p[args[3]], "a stride")};
    CHECK(view.shape.size() == view.stride.size(), "size and stride differ in length");
    views.push_back(std::move(view));
    return {.kind = Kind::object, .integer = static_cast<int64_t>(views.size() - 1), .text = kTensor};
  }
  // ('storage', type, key, location, numel) and, in the legacy format, a sixth item for views of storages.
  Value persistent(const Pickle& p, const Value& id) override {
    const std::vector<int>& items = id.items;
    bool six = items.size() == 6 && p[items[5]].kind == Kind::none;
    CHECK(id.kind == Kind::tuple && (items.size() == 5 || six) && p[items[0]].text == "storage",
          "expected a persistent id ('storage', type, key, location, numel)");
    const Value &type = p[items[1]], &key = p[items[2]];
    const Dtype* dtype = storage_dtype(type.text);
    CHECK(type.kind == Kind::global && dtype, "expected a storage type");
    CHECK(key.kind == Kind::text, "expected a storage key");
    CHECK(key.text.size() <= kMaxKey, "a storage key of ", key.text.size(), " bytes");
    int64_t numel = integer(p[items[4]], "the number of elements");
    CHECK(tensor_bytes({numel}, *dtype), "a storage of ", numel, " elements");
    storages.push_back({key.text, *dtype, numel});
    return {.kind = Kind::object, .integer = static_cast<int64_t>(storages.size() - 1), .text = kStorage};
  }
  // The state of an OrderedDict is _metadata: version numbers of modules. That of an opaque object means as little as the object.
  void build(const Pickle&, Value& object, const Value&) override {
    CHECK(object.kind == Kind::dict || object.kind == Kind::object, "expected an OrderedDict or another object below its state");
  }

  std::vector<Storage> storages;
  std::vector<View> views;

 private:
  // OrderedDict(), or with one list of [key, value] pairs as Python 2 wrote it.
  static Value ordered_dict(const Pickle& p, const std::vector<int>& args) {
    Value dict{.kind = Kind::dict};
    CHECK(args.size() <= 1, "OrderedDict: expected at most one argument");
    if (args.empty()) return dict;
    CHECK(p[args[0]].kind == Kind::list, "expected a list of pairs");
    for (int id : p[args[0]].items) {
      const Value& pair = p[id];
      CHECK((pair.kind == Kind::list || pair.kind == Kind::tuple) && pair.items.size() == 2, "expected a [key, value] pair");
      dict.items.insert(dict.items.end(), pair.items.begin(), pair.items.end());
    }
    return dict;
  }
};

}  // namespace

TorchPickle unpickle(std::string_view bytes, uint64_t at, const std::string& file) {
  Torch torch;
  Pickle pickle = vitrine::unpickle(bytes, at, file, torch);
  return {std::move(pickle), std::move(torch.storages), std::move(torch.views)};
}

}  // namespace vitrine::io
