// A text file of any length, some megabytes of whole lines at a time.
#pragma once
#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>

namespace vitrine::eval {

class LineBlocks {
 public:
  explicit LineBlocks(const std::string& path);  // Error if it cannot be opened
  // The next lines, the last one perhaps without its '\n'; false at the end. Error for a line that fills a block.
  bool next(std::string_view& lines);
  int64_t first_line() const { return line_; }  // number of the first of them, from 1
  int64_t file_bytes() const { return bytes_; }

 private:
  std::string path_, buffer_;
  std::ifstream in_;
  size_t used_ = 0, end_ = 0;  // bytes of the buffer given out, read
  int64_t line_ = 1, bytes_ = 0;
};

// visit(line, number) for every line that is not blank, without its line end.
void for_each_line(const std::string& path, const std::function<void(std::string_view, int64_t)>& visit);

}  // namespace vitrine::eval
