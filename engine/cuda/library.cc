#include "engine/cuda/library.h"

#include <cublas_v2.h>
#include <cudnn.h>
#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <map>
#include <vector>

#include "engine/core/mode.h"
#include "engine/core/tensor.h"
#include "engine/cuda/runtime.h"

// The headers give the types, dlopen gives the code; nothing links against them.
// clang-format off
#define CUDNN_FUNCTIONS(X)                                                                                                     \
  X(cudnnCreate) X(cudnnSetStream) X(cudnnGetVersion) X(cudnnGetErrorString) X(cudnnCreateTensorDescriptor)                    \
  X(cudnnSetTensor4dDescriptor) X(cudnnCreateFilterDescriptor) X(cudnnSetFilter4dDescriptor) X(cudnnCreateConvolutionDescriptor) \
  X(cudnnSetConvolution2dDescriptor) X(cudnnSetConvolutionGroupCount) X(cudnnSetConvolutionMathType)                           \
  X(cudnnGetConvolutionForwardAlgorithm_v7) X(cudnnGetConvolutionBackwardDataAlgorithm_v7)                                     \
  X(cudnnGetConvolutionBackwardFilterAlgorithm_v7) X(cudnnConvolutionForward) X(cudnnConvolutionBackwardData)                  \
  X(cudnnConvolutionBackwardFilter) X(cudnnGetConvolutionForwardWorkspaceSize)
// clang-format on
#define CUBLAS_FUNCTIONS(X) X(cublasCreate_v2) X(cublasSetStream_v2) X(cublasSetWorkspace_v2) X(cublasGetVersion_v2)

namespace vitrine::cuda {
namespace {

// Where the loader looks, where the toolkit lies, and inside a Python environment.
std::vector<std::string> places(const std::string& file) {
  std::vector<std::string> all{file, "/usr/local/cuda/lib64/" + file};
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX", ""}) {
    const char* root = *variable ? std::getenv(variable) : "/usr{,/local}";
    if (!root) continue;
    glob_t found{};
    const std::string pattern = cat(root, "/lib/python3*/{site,dist}-packages/nvidia/*/lib/", file);
    if (glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0) all.insert(all.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
    globfree(&found);
  }
  return all;
}

void* open_first(const std::vector<std::string>& files, std::string& why) {
  for (const std::string& file : files)
    for (const std::string& place : places(file)) {
      if (void* handle = dlopen(place.c_str(), RTLD_NOW | RTLD_GLOBAL)) return handle;
      if (why.empty()) why = dlerror();
    }
  return nullptr;
}

template <class F>
bool find(void* handle, const char* name, F& f, std::string& why) {
  f = reinterpret_cast<F>(dlsym(handle, name));
  if (!f) why = cat("it has no ", name);
  return f != nullptr;
}

struct Cudnn {
#define X(f) decltype(&::f) f = nullptr;
  CUDNN_FUNCTIONS(X)
#undef X
  cudnnHandle_t handle = nullptr;
  std::string why;  // it is not there; empty: it is
  Cudnn() {
    void* library = open_first({"libcudnn.so.9"}, why);
    if (!library) return;
    why.clear();
#define X(f) \
  if (!find(library, #f, f, why)) return;
    CUDNN_FUNCTIONS(X)
#undef X
    if (auto s = cudnnCreate(&handle); s != CUDNN_STATUS_SUCCESS) why = cudnnGetErrorString(s);
    if (why.empty()) cudnnSetStream(handle, stream());
  }
};
Cudnn& cudnn() {
  static auto* c = new Cudnn;
  return *c;
}

struct Cublas {
  // Overloaded in its header, so that decltype cannot name it.
  cublasStatus_t (*cublasGemmEx)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*, const void*,
                                 cudaDataType, int, const void*, cudaDataType, int, const void*, void*, cudaDataType, int,
                                 cublasComputeType_t, cublasGemmAlgo_t) = nullptr;
#define X(f) decltype(&::f) f = nullptr;
  CUBLAS_FUNCTIONS(X)
#undef X
  cublasHandle_t handle = nullptr;
  std::string why;
  Cublas() {
    std::string ignored;
    open_first({"libcublasLt.so.13", "libcublasLt.so.12"}, ignored);  // cuBLAS asks for it by name
    void* library = open_first({"libcublas.so.13", "libcublas.so.12"}, why);
    if (!library) return;
    why.clear();
#define X(f) \
  if (!find(library, #f, f, why)) return;
    CUBLAS_FUNCTIONS(X)
#undef X
    if (!find(library, "cublasGemmEx", cublasGemmEx, why)) return;
    if (cublasCreate_v2(&handle) != CUBLAS_STATUS_SUCCESS) why = "it cannot be initialised";
    if (!why.empty()) return;
    cublasSetStream_v2(handle, stream());
    constexpr size_t kWorkspace = 32 << 20;  // given once, so that recorded products take no memory of their own
    void* workspace = nullptr;
    if (cudaMalloc(&workspace, kWorkspace) == cudaSuccess) cublasSetWorkspace_v2(handle, workspace, kWorkspace);
  }
};
Cublas& cublas() {
  static auto* c = new Cublas;
  return *c;
}

void cudnn_check(cudnnStatus_t s, const char* call) {
  CHECK(s == CUDNN_STATUS_SUCCESS, "cuda: ", call, ": ", cudnn().cudnnGetErrorString(s));
}
#define CUDNN_CHECK(call) cudnn_check(cudnn().call, #call)

// Descriptors and the algorithm for one shape and precision.
struct Plan {
  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t conv = nullptr;
  int algorithm = 0;
  size_t workspace = 0;
  bool usable = false;
};

struct Types {
  cudnnDataType_t x, y, sums;  // w like x
  cudnnMathType_t math;
};

void describe(Plan& plan, const ConvProblem& p, const Types& t) {
  CUDNN_CHECK(cudnnCreateTensorDescriptor(&plan.x));
  CUDNN_CHECK(cudnnCreateTensorDescriptor(&plan.y));
  CUDNN_CHECK(cudnnCreateFilterDescriptor(&plan.w));
  CUDNN_CHECK(cudnnCreateConvolutionDescriptor(&plan.conv));
  CUDNN_CHECK(cudnnSetTensor4dDescriptor(plan.x, CUDNN_TENSOR_NHWC, t.x, p.n, p.c, p.h, p.w));
  CUDNN_CHECK(cudnnSetTensor4dDescriptor(plan.y, CUDNN_TENSOR_NHWC, t.y, p.n, p.o, p.oh, p.ow));
  CUDNN_CHECK(cudnnSetFilter4dDescriptor(plan.w, t.x, CUDNN_TENSOR_NHWC, p.o, p.c / p.groups, p.kh, p.kw));
  CUDNN_CHECK(cudnnSetConvolution2dDescriptor(plan.conv, p.pad_h, p.pad_w, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w,
                                              CUDNN_CROSS_CORRELATION, t.sums));
  CUDNN_CHECK(cudnnSetConvolutionGroupCount(plan.conv, p.groups));
  CUDNN_CHECK(cudnnSetConvolutionMathType(plan.conv, t.math));
}

// The first of the heuristic's candidates, fastest first, that is deterministic and keeps to the precision.
template <class Perf>
void choose(Plan& plan, const Perf* candidates, int count, Mode::Precision precision) {
  for (const Perf* c = candidates; c < candidates + count && !plan.usable; ++c) {
    if (c->status != CUDNN_STATUS_SUCCESS || c->determinism != CUDNN_DETERMINISTIC) continue;
    if (precision == Mode::Precision::f32 && c->mathType != CUDNN_FMA_MATH && c->mathType != CUDNN_DEFAULT_MATH) continue;
    if (c->mathType == CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION) continue;  // f16 inside
    if (precision != Mode::Precision::f32) CUDNN_CHECK(cudnnSetConvolutionMathType(plan.conv, c->mathType));
    plan.algorithm = static_cast<int>(c->algo), plan.workspace = c->memory, plan.usable = true;
  }
}

Plan make_plan(const ConvProblem& p, Mode::Precision precision) {
  constexpr int kMost = 16;
  const Cudnn& c = cudnn();
  Plan plan;
  const cudnnDataType_t type = precision == Mode::Precision::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  describe(plan, p, {type, type, CUDNN_DATA_FLOAT, precision == Mode::Precision::f32 ? CUDNN_FMA_MATH : CUDNN_DEFAULT_MATH});
  int count = 0;
  if (p.direction == Direction::forward) {
    cudnnConvolutionFwdAlgoPerf_t found[kMost];
    if (c.cudnnGetConvolutionForwardAlgorithm_v7(c.handle, plan.x, plan.w, plan.conv, plan.y, kMost, &count, found) == CUDNN_STATUS_SUCCESS)
      choose(plan, found, count, precision);
  } else if (p.direction == Direction::grad_x) {
    cudnnConvolutionBwdDataAlgoPerf_t found[kMost];
    if (c.cudnnGetConvolutionBackwardDataAlgorithm_v7(c.handle, plan.w, plan.y, plan.conv, plan.x, kMost, &count, found) ==
        CUDNN_STATUS_SUCCESS)
      choose(plan, found, count, precision);
  } else {
    cudnnConvolutionBwdFilterAlgoPerf_t found[kMost];
    if (c.cudnnGetConvolutionBackwardFilterAlgorithm_v7(c.handle, plan.x, plan.y, plan.conv, plan.w, kMost, &count, found) ==
        CUDNN_STATUS_SUCCESS)
      choose(plan, found, count, precision);
  }
  return plan;
}

cudnnStatus_t execute(const Plan& plan, Direction d, void* x, void* w, void* y) {
  const Cudnn& c = cudnn();
  const float one = 1, zero = 0;
  Buffer workspace(Device::cuda, static_cast<int64_t>(plan.workspace));
  if (d == Direction::forward)
    return c.cudnnConvolutionForward(c.handle, &one, plan.x, x, plan.w, w, plan.conv,
                                     static_cast<cudnnConvolutionFwdAlgo_t>(plan.algorithm), workspace.data, plan.workspace, &zero, plan.y,
                                     y);
  if (d == Direction::grad_x)
    return c.cudnnConvolutionBackwardData(c.handle, &one, plan.w, w, plan.y, y, plan.conv,
                                          static_cast<cudnnConvolutionBwdDataAlgo_t>(plan.algorithm), workspace.data, plan.workspace, &zero,
                                          plan.x, x);
  return c.cudnnConvolutionBackwardFilter(c.handle, &one, plan.x, x, plan.y, y, plan.conv,
                                          static_cast<cudnnConvolutionBwdFilterAlgo_t>(plan.algorithm), workspace.data, plan.workspace,
                                          &zero, plan.w, w);
}

}  // namespace

bool cudnn_conv(const ConvProblem& p, void* x, void* w, void* y) {
  if (!mode().libraries || !cudnn().why.empty() || p.n == 0) return false;
  static auto* plans = new std::map<std::pair<ConvProblem, Mode::Precision>, Plan>;
  const Mode::Precision precision = mode().precision;
  auto [it, is_new] = plans->try_emplace({p, precision});
  if (is_new) it->second = make_plan(p, precision);
  Plan& plan = it->second;
  if (!plan.usable) return false;
  const cudnnStatus_t status = execute(plan, p.direction, x, w, y);
  if (status / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000) plan.usable = false;  // found out late; our own kernel from now on
  if (plan.usable) cudnn_check(status, "convolution");
  return plan.usable;
}

// cuDNN's one algorithm for int8 in N,H,W,C.
bool cudnn_conv_int8(const ConvProblem& p, void* x, void* w, void* y) {
  if (!cudnn().why.empty()) return false;
  static auto* plans = new std::map<ConvProblem, Plan>;
  auto [it, is_new] = plans->try_emplace(p);
  Plan& plan = it->second;
  if (is_new) {
    describe(plan, p, {CUDNN_DATA_INT8, CUDNN_DATA_FLOAT, CUDNN_DATA_INT32, CUDNN_TENSOR_OP_MATH});
    plan.algorithm = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
    plan.usable = cudnn().cudnnGetConvolutionForwardWorkspaceSize(cudnn().handle, plan.x, plan.w, plan.conv, plan.y,
                                                                  CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
                                                                  &plan.workspace) == CUDNN_STATUS_SUCCESS;
  }
  return plan.usable && execute(plan, Direction::forward, x, w, y) == CUDNN_STATUS_SUCCESS;
}

bool cublas_matmul_int8(int64_t m, int64_t n, int64_t k, const void* a, const void* b, void* c) {
  if (!cublas().why.empty()) return false;
  const int32_t one = 1, zero = 0;
  auto i = [](int64_t v) { return static_cast<int>(v); };
  return cublas().cublasGemmEx(cublas().handle, CUBLAS_OP_T, CUBLAS_OP_N, i(n), i(m), i(k), &one, b, CUDA_R_8I, i(k), a, CUDA_R_8I, i(k),
                               &zero, c, CUDA_R_32I, i(n), CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
}

// Row-major c = op(a) op(b) is column-major c^T = op(b)^T op(a)^T on the same bytes.
bool cublas_matmul(int64_t m, int64_t n, int64_t k, const float* a, bool ta, const float* b, bool tb, float* c) {
  if (!mode().libraries || !cublas().why.empty() || m == 0 || n == 0 || k == 0) return false;
  const auto precision = mode().precision;
  const cublasComputeType_t compute = precision == Mode::Precision::bf16   ? CUBLAS_COMPUTE_32F_FAST_16BF
                                      : precision == Mode::Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                                           : CUBLAS_COMPUTE_32F_PEDANTIC;
  const float one = 1, zero = 0;
  auto i = [](int64_t v) { return static_cast<int>(v); };
  const cublasStatus_t s = cublas().cublasGemmEx(cublas().handle, tb ? CUBLAS_OP_T : CUBLAS_OP_N, ta ? CUBLAS_OP_T : CUBLAS_OP_N, i(n),
                                                 i(m), i(k), &one, b, CUDA_R_32F, i(tb ? k : n), a, CUDA_R_32F, i(ta ? m : k), &zero, c,
                                                 CUDA_R_32F, i(n), compute, CUBLAS_GEMM_DEFAULT);
  CHECK(s == CUBLAS_STATUS_SUCCESS, "cuda: cublasGemmEx: status ", static_cast<int>(s));
  return true;
}

std::string libraries() {
  int version = 0;
  if (cublas().why.empty()) cublas().cublasGetVersion_v2(cublas().handle, &version);
  auto dotted = [](size_t v, size_t major, size_t minor) { return cat(v / major, ".", v % major / minor, ".", v % minor); };
  return cat(cudnn().why.empty() ? "cuDNN " + dotted(cudnn().cudnnGetVersion(), 10000, 100) : "no cuDNN (" + cudnn().why + ")", ", ",
             cublas().why.empty() ? "cuBLAS " + dotted(version, 10000, 100) : "no cuBLAS (" + cublas().why + ")");
}

}  // namespace vitrine::cuda
