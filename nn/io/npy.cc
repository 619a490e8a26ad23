#include "nn/io/npy.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <set>

#include "nn/io/bytes.h"

namespace vitrine::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::pair<const char*, Dtype> kDescr[] = {
    {"<f4", Dtype::f32}, {"<f8", Dtype::f64}, {"<i4", Dtype::i32}, {"<i8", Dtype::i64}, {"|u1", Dtype::u8},
};

struct Header {
  std::string descr;
  bool fortran = false;
  std::vector<int64_t> shape;
};

// The header is a Python dict literal with three known keys: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Header parse() {
    Header h;
    std::set<std::string, std::less<>> seen;
    expect('{');
    while (!accept('}')) {
      std::string key = quoted();
      CHECK(seen.insert(key).second, file_, ": header: key '", brief(key), "' appears twice");
      expect(':');
      if (key == "descr")
        h.descr = quoted();
      else if (key == "fortran_order")
        h.fortran = boolean();
      else if (key == "shape")
        h.shape = tuple();
      else
        fail("descr, fortran_order or shape");
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (seen.size() != 3) fail("the keys descr, fortran_order and shape");
    skip();
    if (at_ != text_.size()) fail("nothing more");
    return h;
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    throw Error(cat(file_, ": header: character ", at_, ": expected ", expected));
  }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool accept(char c) {
    skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(std::string("'") + c + "'");
  }
  std::string quoted() {
    skip();
    char quote = at_ < text_.size() && text_[at_] == '"' ? '"' : '\'';
    expect(quote);
    size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) fail("a closing quote");
    std::string s(text_.substr(at_, end - at_));
    at_ = end + 1;
    return s;
  }
  bool boolean() {
    skip();
    for (auto [word, value] : {std::pair("True", true), std::pair("False", false)})
      if (text_.substr(at_).starts_with(word)) {
        at_ += std::string_view(word).size();
        return value;
      }
    fail("True or False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> out;
    expect('(');
    while (!accept(')')) {
      skip();
      int64_t extent = 0;
      auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), extent);
      if (error != std::errc()) fail("an extent");
      at_ = static_cast<size_t>(end - text_.data());
      out.push_back(extent);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return out;
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
};

// Everything before the data, which is left to the cursor: what it holds, checked as far as a header can be.
std::pair<Header, Dtype> parse_header(Cursor& cursor) {
  const std::string& file = cursor.file();
  if (cursor.take(kMagic.size(), "the .npy magic") != kMagic) cursor.fail(0, "expected the .npy magic \\x93NUMPY");
  uint64_t version = cursor.number(2, "the version");
  if (version != 1 && version != 2) cursor.fail(6, cat("version ", version & 255, ".", version >> 8, ", expected 1.0 or 2.0"));
  uint64_t length = cursor.number(version == 1 ? 2 : 4, "the header length");
  Header h = HeaderParser(cursor.take(length, "the header"), file).parse();
  CHECK(!h.fortran, file, ": fortran_order is True, expected C order");
  auto known = std::find_if(std::begin(kDescr), std::end(kDescr), [&](auto& d) { return h.descr == d.first; });
  CHECK(known != std::end(kDescr), file, ": dtype '", brief(h.descr), "', expected <f4, <f8, <i4, <i8 or |u1");
  CHECK(tensor_bytes(h.shape, known->second), file, ": shape ", brief(list(h.shape)), " is not supported (at most ", Shape::kMaxRank,
        " extents)");
  return {h, known->second};
}

}  // namespace

Tensor parse_npy(std::string_view bytes, const std::string& file) {
  Cursor cursor(bytes, file);
  auto [h, dtype] = parse_header(cursor);
  const auto size = tensor_bytes(h.shape, dtype);
  CHECK(static_cast<uint64_t>(*size) == cursor.left(), file, ": ", cursor.left(), " bytes of data, expected ", *size, " for ",
        list(h.shape));
  return tensor_from(Shape(h.shape), dtype, cursor.take(cursor.left(), "the data"));
}

Tensor read_npy(const std::string& path) { return parse_npy(load_bytes(path), path); }

NpyRows::NpyRows(const std::string& path) : path_(path), in_(path, std::ios::binary) {
  constexpr std::streamsize kMostHeader = 1 << 16;
  CHECK(in_ && !std::filesystem::is_directory(path), path, ": cannot be opened");
  buffer_.resize(kMostHeader);
  in_.read(buffer_.data(), kMostHeader);
  buffer_.resize(static_cast<size_t>(in_.gcount()));
  in_.clear();
  Cursor cursor(buffer_, path);
  auto [h, dtype] = parse_header(cursor);
  CHECK(h.shape.size() == 2 && (dtype == Dtype::f32 || dtype == Dtype::f64), path, ": ", h.descr, brief(list(h.shape)),
        ", expected <f4 or <f8 [N,D]");
  rows_ = h.shape[0], dim_ = h.shape[1], dtype_ = dtype, data_ = static_cast<int64_t>(cursor.at());
  in_.seekg(0, std::ios::end);
  const int64_t found = static_cast<int64_t>(in_.tellg()) - data_, expected = *tensor_bytes(h.shape, dtype);
  CHECK(found == expected, path, ": ", found, " bytes of data, expected ", expected, " for ", list(h.shape));
  buffer_.resize(static_cast<size_t>(rows_ > 0 ? expected / rows_ : 0));
}

void NpyRows::read(int64_t row, float* out) {
  CHECK(row >= 0 && row < rows_, path_, ": row ", row, " of ", rows_);
  const auto bytes = static_cast<int64_t>(buffer_.size()), at = data_ + row * bytes;
  if (in_.tellg() != at) in_.seekg(at);
  in_.read(buffer_.data(), bytes);
  CHECK(in_.gcount() == bytes, path_, ": byte ", at, ": expected ", bytes, " bytes of row ", row);
  if (dtype_ == Dtype::f32) {
    std::memcpy(out, buffer_.data(), buffer_.size());
  } else {
    for (int64_t i = 0; i < dim_; ++i) {
      double value;
      std::memcpy(&value, buffer_.data() + i * 8, 8);
      out[i] = static_cast<float>(value);
    }
  }
}

void write_npy(const std::string& path, const Tensor& t) {
  auto known = std::find_if(std::begin(kDescr), std::end(kDescr), [&](auto& d) { return t.dtype() == d.second; });
  CHECK(known != std::end(kDescr), path, ": ", info(t.dtype()).name, " cannot be written to .npy, expected f32, f64, i32, i64 or u8");
  std::string shape = "(";
  for (int i = 0; i < t.shape().rank(); ++i)
    shape += std::to_string(t.shape()[i]) + (i + 1 < t.shape().rank() ? ", " : t.shape().rank() == 1 ? "," : "");
  std::string header = cat("{'descr': '", known->first, "', 'fortran_order': False, 'shape': ", shape, "), }");
  constexpr size_t kPrefix = 10;  // magic, version, length
  header.resize((kPrefix + header.size() + 1 + 63) / 64 * 64 - kPrefix, ' ');
  header.back() = '\n';
  save_bytes(path, [&](std::ostream& out) {
    uint16_t length = static_cast<uint16_t>(header.size());
    out << kMagic << '\x01' << '\0';
    out.write(reinterpret_cast<const char*>(&length), 2);
    out << header << bytes_of(t);
  });
}

}  // namespace vitrine::io
