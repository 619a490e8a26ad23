#include "nn/io/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "nn/io/bytes.h"

namespace vitrine::io {
namespace {

using Json = nlohmann::json;
constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr int kMaxDepth = 3;                  // {name: {field: [number]}}

struct Entry {
  std::string name;
  Dtype dtype;
  std::vector<int64_t> dims;
  int64_t begin, end;  // in the data section
};

// The JSON text, refused as soon as it nests deeper than the format or names a tensor twice (which of the two would be meant?).
Json parse_header(std::string_view text, const std::string& file) {
  std::set<std::string> names;
  auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    bool opens = event == Event::object_start || event == Event::array_start;
    CHECK(!opens || depth < kMaxDepth, file, ": header: nested deeper than ", kMaxDepth, " levels");
    if (event == Event::key && depth == 1) {
      auto name = value.get<std::string>();
      CHECK(names.insert(name).second, file, ": tensor '", brief(name), "': appears twice in the header");
    }
    return true;
  };
  try {
    CHECK(!text.empty() && text[0] == '{', file, ": byte 8: expected '{', the start of the JSON header");
    return Json::parse(text, watch);
  } catch (const nlohmann::json::exception& e) {
    throw Error(cat(file, ": header is not valid JSON: ", brief(e.what())));
  }
}

std::vector<int64_t> integers(const Json& entry, const char* field, const std::string& where) {
  auto it = entry.find(field);
  CHECK(it != entry.end() && it->is_array(), where, ": expected an array '", field, "'");
  std::vector<int64_t> out;
  for (const Json& v : *it) {
    CHECK(v.is_number_unsigned() && v.get<uint64_t>() <= INT64_MAX, where, ": '", field, "' holds ",
          brief(v.dump(-1, ' ', false, Json::error_handler_t::replace)), ", expected a count");
    out.push_back(v.get<int64_t>());
  }
  return out;
}

Entry parse_entry(const std::string& name, const Json& json, const std::string& file) {
  std::string where = cat(file, ": tensor '", brief(name), "'");
  CHECK(json.is_object(), where, ": expected an object");
  auto dtype = json.find("dtype");
  CHECK(dtype != json.end() && dtype->is_string(), where, ": expected a string 'dtype'");
  Entry e{name, Dtype::f32, integers(json, "shape", where), 0, 0};
  auto code = dtype->get<std::string>();
  try {
    e.dtype = dtype_named(code);
  } catch (const Error&) {
    throw Error(cat(where, ": dtype '", brief(code), "' is not supported"));
  }
  CHECK(code == info(e.dtype).safetensors, where, ": dtype '", brief(code), "', expected '", info(e.dtype).safetensors, "'");
  auto offsets = integers(json, "data_offsets", where);
  CHECK(offsets.size() == 2 && offsets[0] <= offsets[1], where, ": data_offsets ", list(offsets), ", expected [begin,end]");
  e.begin = offsets[0], e.end = offsets[1];
  auto bytes = tensor_bytes(e.dims, e.dtype);
  CHECK(bytes, where, ": shape ", list(e.dims), " is not supported (at most ", Shape::kMaxRank, " extents)");
  CHECK(e.end - e.begin == *bytes, where, ": ", e.end - e.begin, " bytes of data, expected ", *bytes, " for ", code, list(e.dims));
  return e;
}

}  // namespace

TensorFile parse_safetensors(std::string_view bytes, const std::string& file) {
  Cursor cursor(bytes, file);
  uint64_t length = cursor.number(8, "the header length");
  if (length > kMaxHeader) cursor.fail(0, cat("header length ", length, ", expected at most ", kMaxHeader));
  Json header = parse_header(cursor.take(length, "the header"), file);
  std::string_view data = bytes.substr(cursor.at());

  TensorFile out;
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(parse_entry(name, json, file));
      continue;
    }
    CHECK(json.is_object(), file, ": __metadata__: expected an object");
    for (const auto& [key, value] : json.items()) {
      CHECK(value.is_string(), file, ": __metadata__ '", brief(key), "': expected a string");
      out.metadata[key] = value.get<std::string>();
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](auto& a, auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  int64_t at = 0;  // every tensor starts where the one before ends, and the last one ends with the file: no holes, no overlaps
  for (const Entry& e : entries) {
    CHECK(e.begin == at, file, ": tensor '", brief(e.name), "': data starts at ", e.begin, ", expected ", at, " (hole or overlap)");
    at = e.end;
  }
  CHECK(at == static_cast<int64_t>(data.size()), file, ": ", data.size(), " bytes of data, expected ", at);
  for (const Entry& e : entries)
    out.tensors.emplace_back(e.name, tensor_from(Shape(e.dims), e.dtype, data.substr(e.begin, e.end - e.begin)));
  return out;
}

TensorFile read_safetensors(const std::string& path) { return parse_safetensors(load_bytes(path), path); }

void write_safetensors(const std::string& path, const TensorFile& file) {
  Json header = Json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  int64_t at = 0;
  for (const auto& [name, tensor] : file.tensors) {
    CHECK(name != "__metadata__" && !header.contains(name), path, ": tensor '", name, "': the name is taken");
    int64_t end = at + static_cast<int64_t>(bytes_of(tensor).size());
    const std::vector<int64_t> extents(tensor.shape().begin(), tensor.shape().end());
    header[name] = {{"dtype", info(tensor.dtype()).safetensors},
                    {"shape", info(tensor.dtype()).packed() ? std::vector<int64_t>{end - at} : extents},
                    {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& e) {
    throw Error(cat(path, ": a name or a metadata text is not UTF-8: ", brief(e.what())));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  CHECK(text.size() <= kMaxHeader, path, ": header of ", text.size(), " bytes, expected at most ", kMaxHeader);
  save_bytes(path, [&](std::ostream& out) {
    uint64_t length = text.size();
    out.write(reinterpret_cast<const char*>(&length), 8);
    out << text;
    for (const auto& [name, tensor] : file.tensors) out << bytes_of(tensor);
  });
}

}  // namespace vitrine::io
