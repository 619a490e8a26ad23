// cuBLAS for f32 products; cuBLASLt for those of integers, whose algorithm is its heuristic's first for the shape, found once and kept.
#include <cublasLt.h>
#include <cublas_v2.h>

#include <array>
#include <map>
#include <optional>

#include "engine/core/mode.h"
#include "engine/core/tensor.h"
#include "engine/cuda/library.h"
#include "engine/cuda/loaded.h"
#include "engine/cuda/runtime.h"

#define CUBLAS_FUNCTIONS(X) X(cublasCreate_v2) X(cublasSetStream_v2) X(cublasSetWorkspace_v2) X(cublasGetVersion_v2)
// clang-format off
#define CUBLASLT_FUNCTIONS(X)                                                                       \
  X(cublasLtCreate) X(cublasLtMatmul) X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtMatmulDescCreate) \
  X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutCreate) X(cublasLtMatmulPreferenceCreate) \
  X(cublasLtMatmulPreferenceSetAttribute)
// clang-format on

namespace vitrine::cuda {
namespace {

struct CublasLt {
#define X(f) decltype(&::f) f = nullptr;
  CUBLASLT_FUNCTIONS(X)
#undef X
  cublasLtHandle_t handle = nullptr;
  std::string why;  // it is not there; empty: it is
  CublasLt() {
    if (!load({"libcublasLt.so.13", "libcublasLt.so.12"}, {CUBLASLT_FUNCTIONS(VITRINE_FUNCTION)}, why)) return;
    if (cublasLtCreate(&handle) != CUBLAS_STATUS_SUCCESS) why = "it cannot be initialised";
  }
};
CublasLt& cublas_lt() {
  static auto* c = new CublasLt;
  return *c;
}

struct Cublas {
  // Overloaded in its header, so that decltype cannot name it.
  cublasStatus_t (*cublasGemmEx)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*, const void*,
                                 cudaDataType, int, const void*, cudaDataType, int, const void*, void*, cudaDataType, int,
                                 cublasComputeType_t, cublasGemmAlgo_t) = nullptr;
  cublasStatus_t (*cublasGemmStridedBatchedEx)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                                               const void*, cudaDataType, int, long long, const void*, cudaDataType, int, long long,
                                               const void*, void*, cudaDataType, int, long long, int, cublasComputeType_t,
                                               cublasGemmAlgo_t) = nullptr;
#define X(f) decltype(&::f) f = nullptr;
  CUBLAS_FUNCTIONS(X)
#undef X
  cublasHandle_t handle = nullptr;
  std::string why;
  Cublas() {
    cublas_lt();  // cuBLAS asks for its library by name
    if (!load({"libcublas.so.13", "libcublas.so.12"},
              {CUBLAS_FUNCTIONS(VITRINE_FUNCTION) VITRINE_FUNCTION(cublasGemmEx) VITRINE_FUNCTION(cublasGemmStridedBatchedEx)}, why))
      return;
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

void check(cublasStatus_t s, const char* call, int64_t m, int64_t n, int64_t k) {
  CHECK(s == CUBLAS_STATUS_SUCCESS, "cuda: ", call, " of ", m, "x", k, " and ", k, "x", n, ": status ", static_cast<int>(s));
}

// What cuBLASLt needs for one shape of an integer product; kept as long as the program runs.
struct Product {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t left = nullptr, right = nullptr, result = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  int64_t workspace = 0;
};

// Columns of the result are rows of c: c^T[n][m] = b[n][k] a[m][k]^T, the form (T, N) that integer products must have.
std::optional<Product> plan_int8(int64_t m, int64_t n, int64_t k) {
  const CublasLt& lt = cublas_lt();
  auto done = [&](cublasStatus_t s, const char* call) { check(s, call, m, n, k); };
  Product p;
  const int32_t transposed = CUBLAS_OP_T;
  done(lt.cublasLtMatmulDescCreate(&p.operation, CUBLAS_COMPUTE_32I, CUDA_R_32I), "cublasLtMatmulDescCreate");
  done(lt.cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed),
       "cublasLtMatmulDescSetAttribute");
  done(lt.cublasLtMatrixLayoutCreate(&p.left, CUDA_R_8I, k, n, k), "cublasLtMatrixLayoutCreate");
  done(lt.cublasLtMatrixLayoutCreate(&p.right, CUDA_R_8I, k, m, k), "cublasLtMatrixLayoutCreate");
  done(lt.cublasLtMatrixLayoutCreate(&p.result, CUDA_R_32I, n, m, n), "cublasLtMatrixLayoutCreate");
  cublasLtMatmulPreference_t preference = nullptr;
  const uint64_t most = 32 << 20;
  done(lt.cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  done(lt.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most),
       "cublasLtMatmulPreferenceSetAttribute");
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t s =
      lt.cublasLtMatmulAlgoGetHeuristic(lt.handle, p.operation, p.left, p.right, p.result, p.result, preference, 1, &found, &count);
  if (s == CUBLAS_STATUS_NOT_SUPPORTED || count == 0) return std::nullopt;
  done(s, "cublasLtMatmulAlgoGetHeuristic");
  p.algorithm = found.algo, p.workspace = static_cast<int64_t>(found.workspaceSize);
  return p;
}

}  // namespace

bool cublas_matmul_int8(int64_t m, int64_t n, int64_t k, const void* a, const void* b, void* c) {
  if (!cublas_lt().why.empty()) return false;
  static auto* products = new std::map<std::array<int64_t, 3>, std::optional<Product>>;
  auto it = products->find({m, n, k});
  if (it == products->end()) it = products->emplace(std::array{m, n, k}, plan_int8(m, n, k)).first;
  if (!it->second) return false;
  const Product& p = *it->second;
  const int32_t one = 1, zero = 0;
  Buffer workspace(Device::cuda, p.workspace);
  check(cublas_lt().cublasLtMatmul(cublas_lt().handle, p.operation, &one, b, p.left, a, p.right, &zero, c, p.result, c, p.result,
                                   &p.algorithm, workspace.data, p.workspace, stream()),
        "cublasLtMatmul", m, n, k);
  return true;
}

bool cublas_matmul(int64_t m, int64_t n, int64_t k, const float* a, bool ta, const float* b, bool tb, float* c) {
  return cublas_matmuls(1, m, n, k, a, ta, b, tb, c);
}

// Row-major c = op(a) op(b) is column-major c^T = op(b)^T op(a)^T on the same bytes.
bool cublas_matmuls(int64_t count, int64_t m, int64_t n, int64_t k, const float* a, bool ta, const float* b, bool tb, float* c) {
  if (!mode().libraries || !cublas().why.empty() || m == 0 || n == 0 || k == 0) return false;
  const auto precision = mode().precision;
  const cublasComputeType_t compute = precision == Mode::Precision::bf16   ? CUBLAS_COMPUTE_32F_FAST_16BF
                                      : precision == Mode::Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                                           : CUBLAS_COMPUTE_32F_PEDANTIC;
  const float one = 1, zero = 0;
  auto i = [](int64_t v) { return static_cast<int>(v); };
  const cublasOperation_t left = tb ? CUBLAS_OP_T : CUBLAS_OP_N, right = ta ? CUBLAS_OP_T : CUBLAS_OP_N;
  const int ld_b = i(tb ? k : n), ld_a = i(ta ? m : k);
  const cublasStatus_t s = count == 1 ? cublas().cublasGemmEx(cublas().handle, left, right, i(n), i(m), i(k), &one, b, CUDA_R_32F, ld_b, a,
                                                              CUDA_R_32F, ld_a, &zero, c, CUDA_R_32F, i(n), compute, CUBLAS_GEMM_DEFAULT)
                                      : cublas().cublasGemmStridedBatchedEx(
                                            cublas().handle, left, right, i(n), i(m), i(k), &one, b, CUDA_R_32F, ld_b, k * n, a, CUDA_R_32F,
                                            ld_a, m * k, &zero, c, CUDA_R_32F, i(n), m * n, i(count), compute, CUBLAS_GEMM_DEFAULT);
  if (s == CUBLAS_STATUS_NOT_SUPPORTED) return false;  // bf16 on compute capability 7
  check(s, "a product", m, n, k);
  return true;
}

std::string cublas_text() {
  if (!cublas().why.empty()) return cat("no cuBLAS (", cublas().why, ")");
  int version = 0;
  cublas().cublasGetVersion_v2(cublas().handle, &version);
  return cat("cuBLAS ", dotted(version));
}

}  // namespace vitrine::cuda
