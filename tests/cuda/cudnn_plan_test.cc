// What cuDNN would run for every convolution of our networks on devices that are only described, in a process of its own with a driver that
// runs nothing (driver.cc). Skipped, and counted, where there is a device, and without cuDNN.
#include "engine/cuda/cudnn_plan.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <set>

#include "bench/layers.h"
#include "nn/network.h"
#include "tests/cuda.h"

namespace vitrine::cuda {
namespace {

using Precision = Mode::Precision;

struct Described {
  const char* name;
  int capability, multiprocessors, shared;  // 900 for 9.0; -; most bytes of shared memory a block
  int64_t memory;                           // bytes
};
constexpr Described kH100{"NVIDIA H100 80GB HBM3", 900, 132, 232448, 85017493504}, kT4{"Tesla T4", 750, 40, 65536, 15843721216};

std::string json(const Described& d) {
  return cat(R"({"deviceName":")", d.name, R"(","cudaDeviceId":0,"deviceVer":)", d.capability, R"(,"driverVer":13000,)",
             R"("maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"multiProcessorCount":)",
             d.multiprocessors, R"(,"smClockRateKHz":1500000,"memClockRateKHz":2000000,"l2CacheSize":41943040,"warpSize":32,)",
             R"("maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":)", d.shared,
             R"(,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"pciDeviceId":0,"maxCtasPerSM":16,)",
             R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":1024,"isTccDriver":0,"supportCoopLaunch":1,"totalGlobalMem":)", d.memory, "}");
}

// Says what is wrong, a line each.
using Body = std::function<std::string(const Target&)>;

// In a process of its own, where nothing has looked for a driver yet.
[[noreturn]] void without_a_device(const Described& described, const Body& body) {
  const auto driver = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "driver/libcuda.so.1";
  const std::string wrong = dlopen(driver.c_str(), RTLD_NOW | RTLD_GLOBAL) ? body({json(described), described.memory}) : dlerror();
  std::fputs(wrong.c_str(), stderr);
  std::_Exit(!wrong.empty());
}

void expect_nothing_wrong(const Described& described, const Body& body) {
  if (!cudnn().loaded) GTEST_SKIP() << cudnn().why;
  if (cudnn().handle) GTEST_SKIP() << "a device is there, whose plans run in every other test";
  if (cudnn().cudnnGetVersion() < 91900) GTEST_SKIP() << cudnn_text() << ": the plans stated here are those of 9.19";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(without_a_device(described, body), ::testing::ExitedWithCode(0), "");
}

std::vector<ConvProblem> problems(const std::string& network, int64_t batch, Direction direction) {
  std::vector<ConvProblem> all;
  for (const bench::Layer& layer : bench::layers(network, batch)) all.push_back(bench::problem(direction, layer.shape));
  return all;
}

std::string text(const Key& key) {
  return cat(name(key.precision), key.epilogue() ? " with an epilogue" : "", " into ", info(key.writes).name, ", ", text(key.p));
}

std::optional<Plan> plan_of(const Key& key, const Target& target) {
  auto all = plans(key, target, 1);
  return all.empty() ? std::nullopt : std::optional(std::move(all[0]));
}

bool noted(const Plan& p, cudnnBackendNumericalNote_t note) { return std::count(p.notes.begin(), p.notes.end(), note); }
bool on_tensor_cores(const Plan& p) { return noted(p, CUDNN_NUMERICAL_NOTE_TENSOR_CORE); }

Dtype written(Precision p) { return p == Precision::bf16 ? Dtype::bf16 : Dtype::f32; }

TEST(CudaPlans, EveryConvolutionOfEveryNetworkHasOneInEveryDirectionAndPrecisionAndWritesWhatIsAskedFor) {
  std::set<ConvProblem> all;
  for (const std::string& network : nn::network_names())
    for (int64_t batch : {1, 64, 256}) {
      if (batch != 64 && !network.starts_with("iresnet")) continue;  // depthwise engines are compiled when asked for: seconds
      for (Direction d : {Direction::forward, Direction::grad_x, Direction::grad_w})
        for (const ConvProblem& p : problems(network, batch, d)) all.insert(p);
    }
  EXPECT_GT(all.size(), 250U);
  expect_nothing_wrong(kH100, [&](const Target& target) {
    std::string wrong;
    for (const ConvProblem& p : all)
      for (Precision precision : {Precision::f32, Precision::tf32, Precision::bf16}) {
        const Key key{p, precision, written(precision), false, false, false, false};
        const auto plan = plan_of(key, target);
        if (!plan || plan->writes != key.writes) wrong += text(key) + (plan ? ": of another type\n" : ": none\n");
        if (plan && precision == Precision::f32 && on_tensor_cores(*plan)) wrong += text(key) + ": on tensor cores\n";
        if (plan && noted(*plan, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) wrong += text(key) + ": in no certain order\n";
      }
    return wrong;
  });
}

TEST(CudaPlans, EpiloguesAreFusedOnTensorCoresAndNowhereElse) {
  expect_nothing_wrong(kH100, [](const Target& target) {
    std::string wrong;
    for (const char* network : {"iresnet18", "mobilefacenet"})
      for (const ConvProblem& p : problems(network, 64, Direction::forward))
        for (Precision precision : {Precision::tf32, Precision::bf16}) {
          if (p.h * p.w == 1) continue;  // a product
          const bool prelu = p.stride_h == 1, adds = !prelu && p.kh == 3, depthwise = p.groups > 1;
          const Key key{p, precision, written(precision), true, prelu, adds, false};
          const auto plan = plan_of(key, target);
          if (depthwise && plan) wrong += text(key) + ": though of one channel each\n";
          if (!depthwise && (!plan || !on_tensor_cores(*plan) || plan->writes != key.writes)) wrong += text(key) + ": not so\n";
        }
    return wrong;
  });
}

// The engine that such a device would fuse with took 46 times as long (docs/decisions.md).
TEST(CudaPlans, WhereNoTensorCoreTakesF32AConvolutionAndWhatFollowsAreTwoPasses) {
  expect_nothing_wrong(kT4, [](const Target& target) {
    std::string wrong;
    for (const ConvProblem& p : problems("iresnet18", 64, Direction::forward)) {
      if (!plan_of({p, Precision::tf32, Dtype::f32, false, false, false, false}, target)) wrong += text(p) + ": none\n";
      if (plan_of({p, Precision::tf32, Dtype::f32, true, true, false, false}, target)) wrong += text(p) + ": fused\n";
    }
    return wrong;
  });
}

}  // namespace
}  // namespace vitrine::cuda
