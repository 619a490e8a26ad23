#include "eval/line_blocks.h"

#include <algorithm>
#include <filesystem>

#include "engine/core/error.h"

namespace vitrine::eval {
namespace {

constexpr size_t kBlock = size_t{8} << 20;

}  // namespace

LineBlocks::LineBlocks(const std::string& path) : path_(path), in_(path, std::ios::binary) {
  CHECK(in_ && !std::filesystem::is_directory(path), path, ": cannot be opened, expected a readable file");
  std::error_code unknown;
  const auto size = std::filesystem::file_size(path, unknown);
  bytes_ = unknown ? 0 : static_cast<int64_t>(size);
  buffer_.resize(std::min(kBlock, static_cast<size_t>(std::max<int64_t>(bytes_ + 1, 4096))));
}

bool LineBlocks::next(std::string_view& lines) {
  line_ += std::count(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(used_), '\n');
  std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(used_), buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
  end_ -= used_, used_ = 0;
  in_.read(buffer_.data() + end_, static_cast<std::streamsize>(buffer_.size() - end_));
  end_ += static_cast<size_t>(in_.gcount());
  CHECK(!in_.bad(), path_, ": cannot be read, expected a regular file");
  if (end_ == 0) return false;
  const size_t last = std::string_view(buffer_.data(), end_).rfind('\n');
  used_ = end_ < buffer_.size() ? end_ : last + 1;  // at the end of the file the last line may lack its end
  CHECK(used_ > 0, path_, ":", line_, ": a line of more than ", buffer_.size(), " bytes");
  lines = std::string_view(buffer_.data(), used_);
  return true;
}

void for_each_line(const std::string& path, const std::function<void(std::string_view, int64_t)>& visit) {
  LineBlocks blocks(path);
  for (std::string_view lines; blocks.next(lines);)
    for (int64_t number = blocks.first_line(); !lines.empty(); ++number) {
      std::string_view line = lines.substr(0, lines.find('\n'));
      lines.remove_prefix(std::min(line.size() + 1, lines.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.find_first_not_of(" \t") != line.npos) visit(line, number);
    }
}

}  // namespace vitrine::eval
