// A progress bar with rate and time left on a terminal; otherwise a plain line every tenth of the work, but the last and none but it within
// a second of another. Written to standard error.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace vitrine::tools {

struct Stopwatch {
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }
};

class Progress {
 public:
  Progress(std::string what, int64_t total, std::string unit = "images");
  ~Progress();
  void add(int64_t done, const std::string& note = "");  // `note` stands at the end: a loss, for example
  double rate() const;                                   // units per second so far

 private:
  void draw(const std::string& note);
  double seconds() const;
  std::string what_, unit_;
  int64_t total_, done_ = 0;
  bool terminal_;
  std::chrono::steady_clock::time_point start_, drawn_;
  std::string note_;
};

}  // namespace vitrine::tools
