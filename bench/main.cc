// bench [--threads=N] [--cpu-time] [--benchmark_filter=REGEX] [--benchmark_repetitions=N]: runs what bench/*.cc adds and prints one line
// each, then per group the multiplicity-weighted and the geometric mean share of the measured peak ("-" where none was measured).
// --cpu-time, with --threads=1, counts time on the processor instead of time on the wall: for a machine that others are using.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "bench/peak.h"
#include "bench/report.h"
#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "engine/cpu/isa.h"

namespace vitrine::bench {
namespace {

std::vector<Entry>& entries() {
  static std::vector<Entry> all;
  return all;
}

std::string percent(double share) { return share > 0 ? cat(std::lround(100 * share), "%") : "-"; }

class Table : public benchmark::BenchmarkReporter {
 public:
  Table(double flops, double codes, double bytes) : peak_flops_(flops), peak_codes_(codes), peak_bytes_(bytes) {}

  bool ReportContext(const Context&) override {
    std::printf("%s, %d threads, %s: FMA peak %.1f GFLOP/s, VNNI peak %.1f GOP/s, read bandwidth %.1f GB/s\n", cpu::name(cpu::isa()),
                threads(), use_cpu_time() ? "time on the processor" : "time on the wall", peak_flops_ / 1e9, peak_codes_ / 1e9,
                peak_bytes_ / 1e9);
    std::printf("%-62s %10s %7s %9s %7s %6s %6s\n", "", "median us", "spread", "GOP/s", "GB/s", "share", "best");
    return true;
  }

  // All repetitions of one entry arrive together.
  void ReportRuns(const std::vector<Run>& runs) override {
    std::vector<double> t;
    const Entry* e = nullptr;
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;
      t.push_back((use_cpu_time() ? run.cpu_accumulated_time : run.real_accumulated_time) / static_cast<double>(run.iterations));
      e = &entries()[static_cast<size_t>(run.counters.at("entry").value)];
    }
    if (!e) return;
    std::sort(t.begin(), t.end());
    const double median = t[t.size() / 2], spread = (t.back() - t.front()) / median;
    const double work = e->flops > 0 ? e->flops : e->bytes, peak = e->flops <= 0 ? peak_bytes_ : e->codes ? peak_codes_ : peak_flops_;
    const double limit = peak > 0 ? work / peak : 0;  // seconds at peak
    std::printf("%-62s %10.1f %6.0f%% %9.1f %7.1f %6s %6s\n", (e->group + " " + e->name).c_str(), median * 1e6, spread * 100,
                e->flops / median / 1e9, e->bytes / median / 1e9, percent(limit / median).c_str(), percent(limit / t.front()).c_str());
    std::fflush(stdout);
    Sum& s = sums_[e->group];
    s.limit += limit * e->multiplicity, s.median += median * e->multiplicity, s.best += t.front() * e->multiplicity;
    s.logs += std::log(limit / median), s.best_logs += std::log(limit / t.front()), ++s.count;
  }

  void Finalize() override {
    std::printf("\n%-62s %10s %15s %15s\n", "share of peak, medians (best of the repetitions)", "total ms", "weighted", "geometric mean");
    for (auto& [group, s] : sums_)
      std::printf("%-62s %10.2f %7s (%5s) %7s (%5s)\n", group.c_str(), s.median * 1e3, percent(s.limit / s.median).c_str(),
                  percent(s.limit / s.best).c_str(), percent(std::exp(s.logs / s.count)).c_str(),
                  percent(std::exp(s.best_logs / s.count)).c_str());
  }

 private:
  struct Sum {
    double limit = 0, median = 0, best = 0, logs = 0, best_logs = 0;
    int count = 0;
  };
  double peak_flops_, peak_codes_, peak_bytes_;
  std::map<std::string, Sum> sums_;
};

void measure(benchmark::State& state, size_t index) {
  static std::function<void()> call;  // kept for the next repetition: a network takes longer to make than to run
  static size_t prepared = ~size_t{0};
  if (prepared != index) call = nullptr, call = entries()[index].prepare(), prepared = index;
  call();
  for (auto _ : state) call();
  state.counters["entry"] = static_cast<double>(index);
}

}  // namespace

void add(Entry e) { entries().push_back(std::move(e)); }

// Takes our own options out of argv.
void own_options(int& argc, char** argv) {
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--threads=", 10) == 0)
      set_threads(std::max(1, std::atoi(argv[i] + 10)));
    else if (std::strcmp(argv[i], "--cpu-time") == 0)
      use_cpu_time() = true;
    else
      argv[kept++] = argv[i];
  }
  argc = kept;
}

int run(int argc, char** argv) {
  own_options(argc, argv);
  if (use_cpu_time() && threads() != 1) {
    std::fprintf(stderr, "bench: --cpu-time counts one thread's time, expected --threads=1\n");
    return 2;
  }
  std::string defaults[] = {"--benchmark_repetitions=5", "--benchmark_min_time=0.02"};  // first: what is given comes later, and so wins
  std::vector<char*> args{argv[0], defaults[0].data(), defaults[1].data()};
  args.insert(args.end(), argv + 1, argv + argc);
  argc = static_cast<int>(args.size()), argv = args.data();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (size_t i = 0; i < entries().size(); ++i) {
    const std::string name = entries()[i].group + " " + entries()[i].name;
    benchmark::RegisterBenchmark(name.c_str(), [i](benchmark::State& s) { measure(s, i); })->UseRealTime();
  }
  Table table(fma_peak(), code_peak(), read_bandwidth());
  benchmark::RunSpecifiedBenchmarks(&table);
  return 0;
}

}  // namespace vitrine::bench

int main(int argc, char** argv) { return vitrine::bench::run(argc, argv); }
