#include "data/bin_set.h"

#include "data/codec.h"
#include "engine/core/bytes.h"

namespace vitrine::data {
namespace {

using Value = Pickle::Value;
using Kind = Value::Kind;

bool is_bytes(const Value& v) { return v.kind == Kind::bytes || v.kind == Kind::text; }  // Python 2's str comes as text
bool is_sequence(const Value& v) { return v.kind == Kind::list || v.kind == Kind::tuple; }

// Python 3 writes bytes to protocol 2 as text of the characters 0 to 255, to be encoded.
std::string latin1(std::string_view utf8) {
  std::string out;
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto c = uint8_t(utf8[i]);
    if (c < 0x80) {
      out += char(c);
      continue;
    }
    const bool two = (c == 0xc2 || c == 0xc3) && i + 1 < utf8.size() && (utf8[i + 1] & 0xc0) == 0x80;
    CHECK(two, "expected text of the characters 0 to 255, found byte ", int{c}, " at ", i);
    out += char((c & 3) << 6 | (utf8[++i] & 0x3f));
  }
  return out;
}

// An array is an object "array CODE" (CODE is numpy's: u1, b1) whose one item is the value with its bytes; a dtype is "dtype CODE".
class Numpy : public PickleMeaning {
 public:
  bool allows(const std::string& global) const override {
    const std::string name = usual(global);
    for (const char* known : {kEncode, kDtype, "numpy ndarray", kReconstruct, kScalar, kFromBuffer})
      if (name == known) return true;
    return false;
  }

  Value call(const Pickle& p, const std::string& global, const std::vector<int>& args) override {
    const std::string name = usual(global);
    if (name == kReconstruct) return {.kind = Kind::object, .text = "array"};  // (ndarray, (0,), b'b'): filled by build
    CHECK(args.size() >= 2, name, ": expected two arguments or more");
    const Value &a = p[args[0]], &b = p[args[1]];
    if (name == kEncode) {
      CHECK(a.kind == Kind::text && (b.text == "latin1" || b.text == "latin-1"), name, ": expected (text, 'latin1')");
      return {.kind = Kind::bytes, .text = latin1(a.text)};
    }
    if (name == kDtype) {  // (code, align, copy)
      CHECK(is_bytes(a) && (a.text == "u1" || a.text == "b1"), "dtype '", brief(a.text), "', expected u1 or b1");
      return {.kind = Kind::object, .text = "dtype " + a.text};
    }
    if (name == kScalar) {
      CHECK(a.text == "dtype b1" && is_bytes(b) && b.text.size() == 1, "expected a numpy.bool_ scalar");
      return {.kind = Kind::boolean, .integer = b.text[0] != 0};
    }
    CHECK(name == kFromBuffer && args.size() == 4, "global '", name, "' cannot be called so");  // (bytes, dtype, shape, order)
    return array(p, args[0], b, p[args[2]]);
  }

  void build(const Pickle& p, Value& object, const Value& state) override {
    CHECK(object.kind == Kind::object && state.kind == Kind::tuple, "expected a numpy array or dtype and its state");
    if (object.text != "array") return;  // byte order and alignment mean nothing to single bytes
    CHECK(state.items.size() == 5, "expected the state of an array: (version, shape, dtype, order, bytes)");
    object = array(p, state.items[4], p[state.items[2]], p[state.items[1]]);
  }

 private:
  static constexpr const char *kEncode = "_codecs encode", *kDtype = "numpy dtype", *kReconstruct = "numpy.core.multiarray _reconstruct",
                              *kScalar = "numpy.core.multiarray scalar", *kFromBuffer = "numpy.core.numeric _frombuffer";
  static std::string usual(const std::string& global) {  // numpy 2 has moved its inner modules
    return global.starts_with("numpy._core.") ? "numpy.core." + global.substr(12) : global;
  }
  static Value array(const Pickle& p, int bytes, const Value& dtype, const Value& shape) {
    CHECK(dtype.kind == Kind::object && dtype.text.starts_with("dtype "), "expected a dtype");
    CHECK(is_bytes(p[bytes]) && shape.kind == Kind::tuple, "expected an array's bytes and shape");
    const auto size = int64_t(p[bytes].text.size());
    int64_t elements = 1;
    for (const int id : shape.items) {
      const int64_t extent = p[id].integer;
      CHECK(p[id].kind == Kind::integer && extent >= 0 && extent <= size, "an array of ", size, " bytes has extent ", extent);
      CHECK(!__builtin_mul_overflow(elements, extent, &elements), "an array of ", size, " bytes has too many elements");
    }
    CHECK(elements == size, "an array of ", elements, " elements has ", size, " bytes");
    return {.kind = Kind::object, .text = "array" + dtype.text.substr(5), .items = {bytes}};
  }
};

// The value with the bytes of an encoded image, or of an array of `code`.
const Value* content(const Pickle& p, const Value& v, const char* code) {
  return v.kind == Kind::object && v.text == code && !v.items.empty() ? &p[v.items[0]] : nullptr;
}

}  // namespace

BinSet::BinSet(const std::string& path) : BinSet(load_bytes(path), path) {}

BinSet::BinSet(std::string_view bytes, const std::string& file) : file_(file) {
  Numpy numpy;
  pickle_ = unpickle(bytes, 0, file, numpy);
  const Value& root = pickle_[pickle_.root];
  CHECK(is_sequence(root) && root.items.size() == 2, file, ": a pickle of (images, same) expected");
  const Value &images = pickle_[root.items[0]], &flags = pickle_[root.items[1]];
  CHECK(is_sequence(images), file, ": a list of images expected");
  for (const int id : images.items) {
    const Value& v = pickle_[id];
    const bool array = content(pickle_, v, "array u1") != nullptr;
    CHECK(array || is_bytes(v), file, ": image ", images_.size(), ": neither bytes nor an array of uint8");
    images_.push_back(array ? v.items[0] : id);
  }
  if (const Value* array = content(pickle_, flags, "array b1")) {
    for (const char flag : array->text) same.push_back(flag != 0);
  } else {
    CHECK(is_sequence(flags), file, ": a list of bools expected");
    for (const int id : flags.items) {
      CHECK(pickle_[id].kind == Kind::boolean, file, ": pair ", same.size(), ": a bool expected");
      same.push_back(pickle_[id].integer != 0);
    }
  }
  CHECK(!same.empty() && images_.size() == 2 * same.size(), file, ": ", images_.size(), " images and ", same.size(),
        " pairs, two images a pair expected");
}

Image BinSet::image(int64_t i) const {
  const std::string_view bytes = encoded(i);
  return decode(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), name(i));
}

}  // namespace vitrine::data
