// fuzz SECONDS [PARSER...]: mutants of valid files for each parser for so many seconds; what is neither read nor refused by Error, takes
//   more than a second of processor time, or holds more than 256 MB at once, is a finding and is kept in build/fuzz.
// fuzz --replay PARSER FILE...: what becomes of these files.
// Each parser works in a child process: it may crash, and the parent, who can make the same mutant again, saves it and goes on behind it.
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/core/parallel.h"
#include "tests/golden.h"
#include "tests/support/fuzz.h"

#if defined(__SANITIZE_ADDRESS__)  // as in <sanitizer/allocator_interface.h>, which gcc's package does not always bring
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, size_t), void (*)(const volatile void*));
extern "C" size_t __sanitizer_get_allocated_size(const volatile void*);
#endif

namespace vitrine::fuzz {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kFinding = 3, kMaxFindings = 5;  // exit status of a child; per parser

// What the child leaves behind when it dies.
struct Progress {
  uint64_t number = 0, read = 0, kinds = 0;  // of mutants begun, of those read, of different errors
  uint64_t kind[1 << 14] = {};
};

// Errors are of one kind when they differ in digits and quotations only.
void count_kind(Progress& p, std::string_view error) {
  std::string text;
  bool quoted = false;
  for (char c : error) {
    if (c == '\'') quoted = !quoted;
    if (!quoted && !(c >= '0' && c <= '9') && c != '-') text += c;
  }
  uint64_t hash = std::hash<std::string>()(text);
  bool known = std::find(p.kind, p.kind + p.kinds, hash) != p.kind + p.kinds;
  if (!known && p.kinds < std::size(p.kind)) p.kind[p.kinds++] = hash;
}

#if defined(__SANITIZE_ADDRESS__)
int64_t live = 0;
void on_malloc(const volatile void*, size_t size) {
  live += static_cast<int64_t>(size);
  if (live > int64_t{256} << 20) std::fputs("more than 256 MB at once\n", stderr), std::abort();
}
void on_free(const volatile void* p) { live -= p ? static_cast<int64_t>(__sanitizer_get_allocated_size(p)) : 0; }
void bound_memory() { __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free); }
#else
void bound_memory() {}
#endif

[[noreturn]] void work(const Target& target, Progress& p, Clock::time_point end) {
  bound_memory();
  while (Clock::now() < end) {
    std::string input = mutant(target, p.number++);
    itimerval second{{}, {1, 0}};
    setitimer(ITIMER_PROF, &second, nullptr);  // SIGPROF ends the process
    Outcome o = run(target, input);
    if (!o.finding.empty()) {
      std::fprintf(stderr, "%s\n", o.finding.c_str());
      _exit(kFinding);
    }
    p.read += o.read;
    if (!o.read) count_kind(p, o.error);
  }
  itimerval never{};
  setitimer(ITIMER_PROF, &never, nullptr);
  std::exit(0);  // with the leak check of the sanitizer
}

std::string verdict(int status) {
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGPROF ? "more than 1 s" : cat("signal ", WTERMSIG(status));
  return cat("exit status ", WEXITSTATUS(status));
}

int fuzz(const Target& target, double seconds) {
  void* memory = mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto& p = *new (memory) Progress;
  auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  int findings = 0;
  while (findings < kMaxFindings && Clock::now() < end) {
    std::fflush(nullptr);
    pid_t child = fork();
    CHECK(child >= 0, "fork: no process");
    if (child == 0) work(target, p, end);
    int status = 0;
    waitpid(child, &status, 0);
    if (status == 0) break;
    ++findings;
    std::string file = cat("build/fuzz/", target.name, "-", p.number - 1);
    std::ofstream(file, std::ios::binary) << mutant(target, p.number - 1);
    std::printf("%s: FINDING, %s: %s\n", target.name.c_str(), verdict(status).c_str(), file.c_str());
  }
  std::printf("%-12s %9lu executions  %8lu read  %5lu kinds of error  %d findings\n", target.name.c_str(), p.number, p.read, p.kinds,
              findings);
  std::fflush(stdout);
  return findings;
}

int replay(const Target& target, const std::string& file) {
  Outcome o = run(target, read_file(file));
  std::printf("%s: %s\n", file.c_str(), o.read ? "read" : cat(o.error, o.finding).c_str());
  return o.finding.empty() ? 0 : 1;
}

int main(const std::vector<std::string>& arguments) {
  CHECK(!arguments.empty(), "usage: fuzz SECONDS [PARSER...] | fuzz --replay PARSER FILE...");
  set_threads(1);  // a child of fork() has no others
  std::filesystem::create_directories("build/fuzz");
  std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  bool replaying = arguments[0] == "--replay";
  int findings = 0, known = 0;
  for (const Target& t : targets()) {
    auto named = std::count(rest.begin(), replaying && !rest.empty() ? rest.begin() + 1 : rest.end(), t.name);
    if (!named && (replaying || !rest.empty())) continue;
    ++known;
    if (!replaying) findings += fuzz(t, std::stod(arguments[0]));
    for (size_t i = 1; replaying && i < rest.size(); ++i) findings += replay(t, rest[i]);
  }
  CHECK(known > 0, "fuzz: no such parser");
  return findings > 0;
}

}  // namespace
}  // namespace vitrine::fuzz

int main(int argc, char** argv) {
  try {
    return vitrine::fuzz::main({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "fuzz: %s\n", e.what());
    return 2;
  }
}
