#include "nn/io/bytes.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace vitrine::io {

static_assert(std::endian::native == std::endian::little, "the formats here are little-endian and are copied as they are");

std::string load_bytes(const std::string& path) {
  CHECK(!std::filesystem::is_directory(path), path, ": is a directory, expected a file");
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  CHECK(in, path, ": cannot be opened");
  std::streamoff size = in.tellg();
  CHECK(size >= 0, path, ": its size cannot be read");
  std::string bytes(static_cast<size_t>(size), '\0');
  in.seekg(0);
  in.read(bytes.data(), size);
  CHECK(in.gcount() == size, path, ": byte ", in.gcount(), ": expected ", size, " bytes");
  return bytes;
}

void save_bytes(const std::string& path, const std::function<void(std::ostream&)>& write) {
  std::string temporary = cat(path, ".", getpid(), ".tmp");
  try {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    CHECK(out, temporary, ": cannot be created");
    write(out);
    out.close();
    CHECK(out, temporary, ": cannot be written (disk full?)");
    CHECK(std::rename(temporary.c_str(), path.c_str()) == 0, path, ": cannot be replaced");
  } catch (...) {
    std::remove(temporary.c_str());
    throw;
  }
}

std::optional<int64_t> tensor_bytes(const std::vector<int64_t>& dims, Dtype dtype) {
  if (dims.size() > Shape::kMaxRank) return std::nullopt;
  const DtypeInfo& d = info(dtype);
  // Zero extents count as one here: Shape multiplies in order and must not overflow before it meets the zero.
  int64_t elements = 1;
  bool empty = false;
  for (int64_t extent : dims) {
    if (extent < 0 || extent > INT64_MAX / 16) return std::nullopt;
    empty |= extent == 0;
    if (__builtin_mul_overflow(elements, std::max<int64_t>(extent, 1), &elements) || elements > INT64_MAX / 16) return std::nullopt;
  }
  if (empty) return 0;
  int64_t row = dims.empty() ? 1 : dims.back(), bytes;
  if (__builtin_mul_overflow(elements / row, (row + d.block - 1) / d.block * d.block_bytes, &bytes)) return std::nullopt;
  return bytes;
}

std::string brief(std::string_view text) {
  constexpr size_t kLongest = 120;
  std::string s(text.substr(0, kLongest));
  for (char& c : s)
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = '?';
  return text.size() > kLongest ? s + "..." : s;
}

std::string list(const std::vector<int64_t>& dims) {
  std::string s = "[";
  for (size_t i = 0; i < dims.size(); ++i) s += (i ? "," : "") + std::to_string(dims[i]);
  return s + "]";
}

Tensor tensor_from(const Shape& shape, Dtype dtype, std::string_view bytes) {
  Tensor t = Tensor::empty({shape, dtype, Device::cpu});
  CHECK(t.meta().nbytes() == static_cast<int64_t>(bytes.size()), str(t.meta()), ": ", bytes.size(), " bytes, expected ", t.meta().nbytes());
  if (!bytes.empty()) std::memcpy(t.raw(), bytes.data(), bytes.size());
  return t;
}

std::string_view bytes_of(const Tensor& t) {
  CHECK(t.device() == Device::cpu, "a tensor on ", name(t.device()), " cannot be written: copy it to the cpu first");
  return {static_cast<const char*>(t.raw()), static_cast<size_t>(t.meta().nbytes())};
}

std::string_view Cursor::take(uint64_t n, const char* what) {
  if (n > left()) fail(at_, cat("expected ", what, " (", n, " bytes), found the end after ", left()));
  at_ += n;
  return bytes_.substr(at_ - n, n);
}

std::string_view Cursor::line(const char* what) {
  size_t end = bytes_.find('\n', at_);
  if (end == std::string_view::npos) fail(at_, cat("expected ", what, " and a line end, found the end of the file"));
  std::string_view text = bytes_.substr(at_, end - at_);
  at_ = end + 1;
  return text;
}

uint64_t Cursor::number(int n, const char* what) {
  std::string_view raw = take(static_cast<uint64_t>(n), what);
  uint64_t value = 0;
  std::memcpy(&value, raw.data(), raw.size());
  return value;
}

void Cursor::fail(uint64_t at, const std::string& expected) const { throw Error(cat(file_, ": byte ", at, ": ", expected)); }

}  // namespace vitrine::io
