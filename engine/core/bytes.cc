#include "engine/core/bytes.h"

#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/core/error.h"

namespace vitrine {

static_assert(std::endian::native == std::endian::little, "the formats here are little-endian and are copied as they are");

std::string load_bytes(const std::string& path) {
  CHECK(!std::filesystem::is_directory(path), path, ": is a directory, expected a file");
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  CHECK(in, path, ": cannot be opened: ", std::strerror(errno));
  std::streamoff size = in.tellg();
  CHECK(size >= 0, path, ": its size cannot be read");
  std::string bytes(static_cast<size_t>(size), '\0');
  in.seekg(0);
  in.read(bytes.data(), size);
  CHECK(in.gcount() == size, path, ": byte ", in.gcount(), ": expected ", size, " bytes");
  return bytes;
}

void save_bytes(const std::string& path, const std::function<void(std::ostream&)>& write) {
  namespace fs = std::filesystem;
  const auto why = [] { return std::strerror(errno); };
  std::error_code error;
  const bool special = fs::exists(path, error) && !fs::is_regular_file(path, error) && !fs::is_directory(path, error);
  const std::string target = fs::is_symlink(path, error) && !special ? fs::weakly_canonical(path).string() : path;
  const std::string file = special ? path : cat(target, ".", getpid(), ".tmp");  // devices and pipes are written to, not replaced
  try {
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    CHECK(out, path, ": cannot be created: ", why());
    write(out);
    out.close();
    CHECK(out, path, ": cannot be written: ", why());
    CHECK(special || std::rename(file.c_str(), target.c_str()) == 0, path, ": cannot be replaced: ", why());
  } catch (...) {
    if (!special) std::remove(file.c_str());
    throw;
  }
}

std::string brief(std::string_view text) {
  constexpr size_t kLongest = 120;
  std::string s(text.substr(0, kLongest));
  for (char& c : s)
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = '?';
  return text.size() > kLongest ? s + "..." : s;
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

}  // namespace vitrine
