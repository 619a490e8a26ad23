#include "nn/io/pth.h"

#include <zip.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>

#include "nn/io/bytes.h"
#include "nn/io/unpickle.h"

namespace vitrine::io {
namespace {

using Value = Pickle::Value;
using Kind = Value::Kind;
using Named = std::vector<std::pair<std::string, const View*>>;

// Names under which training scripts keep the network's state dict beside optimiser state and counters, most specific first.
constexpr const char* kUsualNames[] = {
    "state_dict_backbone", "net_state_dict", "model_state_dict", "state_dict", "model", "backbone", "net", "network"};
constexpr int kMaxNesting = 4;
constexpr int64_t kMaxSharing = 8;  // tensors may share storages; all together they are at most so many times as large as the file

// --- choosing the state dict ----------------------------------------------------------------------------------------------------------
bool holds_tensors(const Pickle& p, const Value& dict, bool or_dicts = false) {
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Value& v = p[dict.items[i + 1]];
    if ((p[dict.items[i]].kind == Kind::text && is_tensor(v)) || (or_dicts && v.kind == Kind::dict)) return true;
  }
  return false;
}

// A dict that is or leads to the state dict; options and counters are dicts, too.
bool may_lead(const Pickle& p, const Value& v) { return v.kind == Kind::dict && holds_tensors(p, v, true); }

const Value* usual_child(const Pickle& p, const Value& dict) {
  for (const char* name : kUsualNames)
    if (int id = p.find(dict, name); id >= 0 && may_lead(p, p[id])) return &p[id];
  return nullptr;
}

const Value& only_child(const Pickle& p, const Value& dict, const std::string& file) {
  const Value* child = nullptr;
  std::string names;
  int dicts = 0;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Value& v = p[dict.items[i + 1]];
    if (names.size() < 100) names += (names.empty() ? "" : ", ") + brief(p[dict.items[i]].text);
    if (may_lead(p, v)) child = &v, ++dicts;
  }
  CHECK(dicts == 1, file, ": no state dict found: expected a dict of tensors, found a dict of: ", brief(names));
  return *child;
}

const Value& state_dict(const Pickle& p, const std::string& file) {
  const Value* dict = &p[p.root];
  for (int level = 0; level < kMaxNesting; ++level) {
    CHECK(dict->kind == Kind::dict, file, ": expected a dict of tensors, found another kind of object");
    if (const Value* child = usual_child(p, *dict))
      dict = child;
    else if (holds_tensors(p, *dict))
      return *dict;
    else
      dict = &only_child(p, *dict, file);
  }
  CHECK(holds_tensors(p, *dict), file, ": no state dict within ", kMaxNesting, " levels of nested dicts");
  return *dict;
}

Named named_views(const TorchPickle& p, const Value& dict) {
  Named out;
  std::map<std::string, size_t> index;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Value &key = p[dict.items[i]], &value = p[dict.items[i + 1]];
    if (key.kind != Kind::text || !is_tensor(value)) continue;
    const View* view = &p.views[static_cast<size_t>(value.integer)];
    auto [it, is_new] = index.emplace(key.text, out.size());
    if (is_new)
      out.emplace_back(key.text, view);
    else
      out[it->second].second = view;
  }
  return out;
}

// --- views to tensors -----------------------------------------------------------------------------------------------------------------
// Bytes of the view when contiguous, after checking that each of its elements lies in the storage.
int64_t check_view(const View& view, const Storage& storage, const std::string& where) {
  auto bytes = tensor_bytes(view.shape, storage.dtype);
  CHECK(bytes, where, ": shape ", list(view.shape), " is not supported");
  int64_t elements = *bytes / info(storage.dtype).block_bytes, last = view.offset;
  bool overflow = view.offset < 0;
  for (size_t i = 0; i < view.shape.size(); ++i) {
    int64_t span;
    overflow |= view.stride[i] < 0 || __builtin_mul_overflow(std::max<int64_t>(view.shape[i] - 1, 0), view.stride[i], &span) ||
                __builtin_add_overflow(last, span, &last);
  }
  CHECK(!overflow && (elements == 0 || last < storage.numel), where, ": shape ", list(view.shape), " stride ", list(view.stride),
        " offset ", view.offset, " does not fit a storage of ", storage.numel, " elements");
  CHECK(elements <= storage.numel, where, ": shape ", list(view.shape), " repeats elements of a storage of ", storage.numel);
  return *bytes;
}

// Row by row in the order of the shape; the last axis is the inner loop.
Tensor materialise(const View& view, const Storage& storage, std::string_view data) {
  Shape shape(view.shape);
  Tensor t = Tensor::empty({shape, storage.dtype, Device::cpu});
  if (shape.numel() == 0) return t;
  int rank = shape.rank();
  auto size = static_cast<size_t>(info(storage.dtype).block_bytes);
  int64_t inner = rank ? shape.back() : 1, step = rank ? view.stride.back() : 1;
  char* out = static_cast<char*>(t.raw());
  for (int64_t row = 0; row < shape.rows(); ++row) {
    int64_t from = view.offset, rest = row;
    for (int axis = rank - 2; axis >= 0; --axis) {
      from += rest % shape[axis] * view.stride[static_cast<size_t>(axis)];
      rest /= shape[axis];
    }
    const char* in = data.data() + static_cast<size_t>(from) * size;
    if (step == 1) {
      std::memcpy(out, in, static_cast<size_t>(inner) * size);
      out += static_cast<size_t>(inner) * size;
    } else {
      for (int64_t i = 0; i < inner; ++i, out += size) std::memcpy(out, in + static_cast<size_t>(i * step) * size, size);
    }
  }
  return t;
}

// `bytes_of_key` gives the content of one storage at a time; what it returned before need not stay valid.
template <class F>
StateDict materialise_all(const TorchPickle& p, const std::string& file, uint64_t file_size, F bytes_of_key) {
  Named named = named_views(p, state_dict(p, file));
  StateDict out;
  std::map<std::string, std::vector<size_t>> by_key;
  int64_t total = 0;
  for (size_t i = 0; i < named.size(); ++i) {
    const auto& [name, view] = named[i];
    const Storage& storage = p.storages[static_cast<size_t>(view->storage)];
    total += check_view(*view, storage, cat(file, ": tensor '", brief(name), "'"));
    CHECK(total <= kMaxSharing * static_cast<int64_t>(file_size), file, ": the tensors are over ", kMaxSharing,
          " times larger than the file");
    by_key[storage.key].push_back(i);
    out.entries.emplace_back(name, Tensor());
  }
  for (const auto& [key, users] : by_key) {
    std::string_view data = bytes_of_key(key);
    for (size_t i : users) {
      const Storage& storage = p.storages[static_cast<size_t>(named[i].second->storage)];
      int64_t expected = *tensor_bytes({storage.numel}, storage.dtype);
      CHECK(static_cast<int64_t>(data.size()) == expected, file, ": storage '", brief(key), "' has ", data.size(), " bytes, expected ",
            expected);
      out.entries[i].second = materialise(*named[i].second, storage, data);
    }
  }
  return unwrapped(std::move(out));
}

// --- the zip format -------------------------------------------------------------------------------------------------------------------
class Zip {
 public:
  Zip(std::string_view bytes, std::string file) : file_(std::move(file)) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
    zip_.reset(source ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr);
    std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    if (!zip_ && source) zip_source_free(source);
    CHECK(zip_, file_, ": not a readable zip archive: ", reason);
    index(bytes.size());
  }

  bool has(const std::string& name) const { return entries_.count(name) != 0; }
  // The folder of the one entry FOLDER/data.pkl. Its name depends on the torch version and on how the file was first called.
  std::string stem() const {
    std::string found;
    constexpr std::string_view kSuffix = "/data.pkl";
    for (const auto& [name, at] : entries_) {
      if (!name.ends_with(kSuffix)) continue;
      CHECK(found.empty(), file_, ": more than one entry data.pkl");
      found = name.substr(0, name.size() - kSuffix.size() + 1);
    }
    CHECK(!found.empty(), file_, ": expected an entry data.pkl, found none (not a PyTorch checkpoint)");
    return found;
  }
  std::string read(const std::string& name) const {
    auto it = entries_.find(name);
    CHECK(it != entries_.end(), file_, ": expected an entry '", brief(name), "', found none");
    std::string data(it->second.size, '\0');
    std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> entry(zip_fopen_index(zip_.get(), it->second.index, 0), zip_fclose);
    // One byte more than announced: the checksum is compared when the end is met.
    char beyond;
    bool whole = entry && zip_fread(entry.get(), data.data(), data.size()) == static_cast<zip_int64_t>(data.size()) &&
                 zip_fread(entry.get(), &beyond, 1) == 0;
    CHECK(whole, file_, ": entry '", brief(name), "' cannot be read: ",
          entry ? zip_error_strerror(zip_file_get_error(entry.get())) : zip_error_strerror(zip_get_error(zip_.get())));
    return data;
  }

 private:
  struct Entry {
    zip_uint64_t index, size;
  };
  // PyTorch stores entries uncompressed, so their sizes must add up to less than the file: no bombs, no overlapping entries.
  void index(uint64_t file_size) {
    uint64_t total = 0;
    for (zip_int64_t i = 0; i < zip_get_num_entries(zip_.get(), 0); ++i) {
      zip_stat_t stat;
      constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD;
      bool known = zip_stat_index(zip_.get(), static_cast<zip_uint64_t>(i), 0, &stat) == 0 && (stat.valid & kNeeded) == kNeeded;
      CHECK(known, file_, ": entry ", i, " of the central directory cannot be read");
      CHECK(stat.comp_method == ZIP_CM_STORE, file_, ": entry '", brief(stat.name), "' is compressed, expected it stored");
      CHECK(stat.size <= file_size - total, file_, ": entry '", brief(stat.name), "' has ", stat.size, " bytes, more than the file");
      total += stat.size;
      bool is_new = entries_.emplace(stat.name, Entry{static_cast<zip_uint64_t>(i), stat.size}).second;
      CHECK(is_new, file_, ": entry '", brief(stat.name), "' appears twice");
    }
  }

  std::string file_;
  std::unique_ptr<zip_t, void (*)(zip_t*)> zip_{nullptr, zip_discard};
  std::map<std::string, Entry> entries_;
};

StateDict parse_zip(std::string_view bytes, const std::string& file) {
  Zip zip(bytes, file);
  std::string stem = zip.stem();
  if (zip.has(stem + "byteorder")) {
    std::string order = zip.read(stem + "byteorder");
    CHECK(order == "little", file, ": byteorder is '", brief(order), "', expected little");
  }
  TorchPickle pickle = unpickle(zip.read(stem + "data.pkl"), 0, cat(file, ": data.pkl"));
  std::string data;
  return materialise_all(pickle, file, bytes.size(), [&](const std::string& key) -> std::string_view {
    data = zip.read(stem + "data/" + key);
    return data;
  });
}

// --- the legacy format ----------------------------------------------------------------------------------------------------------------
// Pickles of: a magic number, a version, {little_endian, ...}, the object, the list of storage keys. Then the storages in the order of
// that list: i64 count and the elements.
StateDict parse_legacy(std::string_view bytes, const std::string& file) {
  constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
  constexpr int64_t kVersion = 1001;
  TorchPickle magic = unpickle(bytes, 0, file);
  CHECK(magic[magic.root].text == kMagic, file, ": byte 0: expected the magic number of PyTorch's legacy format");
  TorchPickle version = unpickle(bytes, magic.end, file);
  CHECK(version[version.root].integer == kVersion, file, ": byte ", magic.end, ": expected version ", kVersion);
  TorchPickle system = unpickle(bytes, version.end, file);
  int little = system.find(system[system.root], "little_endian");
  CHECK(little >= 0 && system[little].integer == 1, file, ": byte ", version.end, ": expected little_endian True");
  TorchPickle object = unpickle(bytes, system.end, file);
  TorchPickle keys = unpickle(bytes, object.end, file);
  CHECK(keys[keys.root].kind == Kind::list, file, ": byte ", object.end, ": expected the list of storage keys");

  std::map<std::string, Dtype> dtypes;
  for (const Storage& s : object.storages) dtypes.emplace(s.key, s.dtype);
  std::map<std::string, std::string_view> contents;
  Cursor cursor(bytes, file, keys.end);
  for (int id : keys[keys.root].items) {
    const std::string& key = keys[id].text;
    auto known = dtypes.find(key);
    if (known == dtypes.end()) cursor.fail(cursor.at(), cat("storage '", brief(key), "' belongs to no tensor"));
    uint64_t at = cursor.at(), numel = cursor.number(8, "the size of a storage");
    auto size = numel <= INT64_MAX ? tensor_bytes({static_cast<int64_t>(numel)}, known->second) : std::nullopt;
    if (!size) cursor.fail(at, cat("storage '", brief(key), "' of ", numel, " elements"));
    contents[key] = cursor.take(static_cast<uint64_t>(*size), "the elements of a storage");
  }
  return materialise_all(object, file, bytes.size(), [&](const std::string& key) {
    auto it = contents.find(key);
    CHECK(it != contents.end(), file, ": storage '", brief(key), "' is missing");
    return it->second;
  });
}

}  // namespace

StateDict unwrapped(StateDict state) {
  std::erase_if(state.entries, [](auto& entry) { return entry.first == "n_averaged"; });
  const auto strip = [&](std::string_view prefix) {
    const bool all = std::all_of(state.entries.begin(), state.entries.end(), [&](auto& entry) { return entry.first.starts_with(prefix); });
    if (all)
      for (auto& [name, tensor] : state.entries) name.erase(0, prefix.size());
    return all;
  };
  while (!state.entries.empty() && (strip("module.") || strip("_orig_mod."))) continue;
  return state;
}

StateDict parse_pth(std::string_view bytes, const std::string& file) {
  if (bytes.starts_with("PK\3\4")) return parse_zip(bytes, file);
  CHECK(!bytes.empty() && bytes[0] == '\x80', file,
        ": byte 0: expected a zip archive (PK) or a pickle, the two forms of PyTorch checkpoints");
  return parse_legacy(bytes, file);
}

StateDict read_pth(const std::string& path) { return parse_pth(load_bytes(path), path); }

}  // namespace vitrine::io
