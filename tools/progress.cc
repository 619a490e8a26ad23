#include "tools/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace vitrine::tools {
namespace {

std::string clock_time(double seconds) {
  auto s = static_cast<int64_t>(seconds + 0.5);
  char text[32];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%d:%02d:%02d", int(s / 3600), int(s / 60 % 60), int(s % 60));
  else
    std::snprintf(text, sizeof text, "%d:%02d", int(s / 60), int(s % 60));
  return text;
}

}  // namespace

Progress::Progress(std::string what, int64_t total, std::string unit)
    : what_(std::move(what)), unit_(std::move(unit)), total_(total), terminal_(isatty(2)), start_(std::chrono::steady_clock::now()) {
  if (!terminal_) drawn_ = start_;
}

Progress::~Progress() {
  if (done_ == 0) return;
  if (terminal_) draw(note_), std::fputc('\n', stderr);
}

double Progress::seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
double Progress::rate() const { return static_cast<double>(done_) / std::max(1e-9, seconds()); }

void Progress::add(int64_t done, const std::string& note) {
  done_ += done;
  note_ = note;
  const auto now = std::chrono::steady_clock::now();
  const double waited = std::chrono::duration<double>(now - drawn_).count();
  const auto tenths = [&](int64_t n) { return n * 10 / std::max<int64_t>(1, total_); };
  const bool due = tenths(done_) > tenths(done_ - done) && (waited > 1 || done_ == total_);
  if (terminal_ ? waited > 0.1 : due) drawn_ = now, draw(note);
}

void Progress::draw(const std::string& note) {
  double part = total_ ? static_cast<double>(done_) / static_cast<double>(total_) : 1, per_second = rate();
  double left = per_second > 0 ? static_cast<double>(total_ - done_) / per_second : 0;
  constexpr int kWidth = 24;
  std::string bar(static_cast<size_t>(std::clamp(part, 0.0, 1.0) * kWidth), '#');
  bar.resize(kWidth, '.');
  char text[512];
  std::snprintf(text, sizeof text, "%s [%s] %lld/%lld %s  %.1f/s  %s %s  %s", what_.c_str(), bar.c_str(), (long long)done_,
                (long long)total_, unit_.c_str(), per_second, done_ >= total_ ? "took" : "left",
                clock_time(done_ >= total_ ? seconds() : left).c_str(), note.c_str());
  winsize window{};
  if (terminal_ && ioctl(2, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 && window.ws_col < sizeof text)
    text[window.ws_col - 1] = 0;  // a line that wraps could not be drawn over
  std::fprintf(stderr, "%s%s%s", terminal_ ? "\r" : "", text, terminal_ ? "\033[K" : "\n");
  std::fflush(stderr);
}

}  // namespace vitrine::tools
