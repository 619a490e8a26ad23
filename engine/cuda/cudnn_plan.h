// What cuDNN is asked for: a convolution as an operation graph, and the engines for it that our rules admit (library.h). For the device in
// use, or for one that is only described: then nothing can run, but which engine would is known without a device or a driver. Only with
// CUDA=1.
#pragma once
#include <cudnn.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/error.h"
#include "engine/core/mode.h"
#include "engine/core/tensor.h"
#include "engine/cuda/library.h"

// clang-format off
#define CUDNN_FUNCTIONS(X)                                                                                                      \
  X(cudnnCreate) X(cudnnSetStream) X(cudnnGetVersion) X(cudnnGetErrorString) X(cudnnGetLastErrorString)                         \
  X(cudnnBackendCreateDescriptor) X(cudnnBackendDestroyDescriptor) X(cudnnBackendSetAttribute) X(cudnnBackendGetAttribute)      \
  X(cudnnBackendFinalize) X(cudnnBackendExecute)
// clang-format on

namespace vitrine::cuda {

struct Cudnn {
#define X(f) decltype(&::f) f = nullptr;
  CUDNN_FUNCTIONS(X)
#undef X
  bool loaded = false;             // so plans can be made
  cudnnHandle_t handle = nullptr;  // so they can run
  std::string why;                 // there is no handle; empty: there is
  Cudnn();
};
Cudnn& cudnn();

void check(cudnnStatus_t, const char* what);  // Error: what failed, and what cuDNN says of it

// ---- descriptors -------------------------------------------------------------------------------------------------------------------

template <class T>
constexpr cudnnBackendAttributeType_t kTypeOf = CUDNN_TYPE_INT64;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<char> = CUDNN_TYPE_CHAR;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<float> = CUDNN_TYPE_FLOAT;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<bool> = CUDNN_TYPE_BOOLEAN;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<void*> = CUDNN_TYPE_VOID_PTR;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<cudnnHandle_t> = CUDNN_TYPE_HANDLE;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<cudnnDataType_t> = CUDNN_TYPE_DATA_TYPE;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<cudnnConvolutionMode_t> = CUDNN_TYPE_CONVOLUTION_MODE;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<cudnnPointwiseMode_t> = CUDNN_TYPE_POINTWISE_MODE;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<cudnnBackendHeurMode_t> = CUDNN_TYPE_HEUR_MODE;
template <>
constexpr cudnnBackendAttributeType_t kTypeOf<cudnnBackendNumericalNote_t> = CUDNN_TYPE_NUMERICAL_NOTE;

class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) { check(cudnn().cudnnBackendCreateDescriptor(type, &raw_), "create"); }
  Descriptor(Descriptor&& d) noexcept : raw_(std::exchange(d.raw_, nullptr)) {}
  Descriptor& operator=(Descriptor&& d) noexcept {
    std::swap(raw_, d.raw_);
    return *this;
  }
  ~Descriptor() {
    if (raw_) cudnn().cudnnBackendDestroyDescriptor(raw_);
  }

  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, const std::vector<T>& values) {
    static_assert(!std::is_same_v<T, int>, "cuDNN reads 64 bits");
    check(cudnn().cudnnBackendSetAttribute(raw_, name, kTypeOf<T>, static_cast<int64_t>(values.size()), values.data()), "set");
    return *this;
  }
  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, const T& value) {
    return set(name, std::vector<T>{value});
  }
  Descriptor& set(cudnnBackendAttributeName_t name, bool value) {
    check(cudnn().cudnnBackendSetAttribute(raw_, name, CUDNN_TYPE_BOOLEAN, 1, &value), "set");
    return *this;
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) { return set_all(name, {value.raw_}); }
  Descriptor& set_all(cudnnBackendAttributeName_t name, const std::vector<cudnnBackendDescriptor_t>& values) {
    check(cudnn().cudnnBackendSetAttribute(raw_, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(values.size()), values.data()),
          "set");
    return *this;
  }
  bool can_be_finalized() { return cudnn().cudnnBackendFinalize(raw_) == CUDNN_STATUS_SUCCESS; }
  Descriptor finalized() && {
    check(cudnn().cudnnBackendFinalize(raw_), "finalize");
    return std::move(*this);
  }
  // How many there are, of which at most `room` are written.
  int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t room, void* values) const {
    int64_t count = 0;
    check(cudnn().cudnnBackendGetAttribute(raw_, name, type, room, &count, values), "get");
    return count;
  }
  cudnnBackendDescriptor_t raw() const { return raw_; }

 private:
  cudnnBackendDescriptor_t raw_ = nullptr;
};

// ---- plans -------------------------------------------------------------------------------------------------------------------------

enum Uid : int64_t { kX = 1, kW, kY, kShift, kSlope, kResidual, kVirtual };
constexpr int64_t kAlignment = 16;  // of all tensors, bytes

// A problem, and which epilogue it has.
struct Key {
  ConvProblem p;
  Mode::Precision precision;
  Dtype writes;  // i8, f32 or bf16: as wished
  bool shift, slope, residual, tuned;
  bool int8() const { return writes == Dtype::i8; }
  bool epilogue() const { return shift || slope || residual; }
  auto operator<=>(const Key&) const = default;
};

// What plans are for.
struct Target {
  Target();                                               // the device in use
  Target(const std::string& properties, int64_t memory);  // one described in cuDNN's JSON (CUDNN_ATTR_DEVICEPROP_...), bytes
  std::optional<Descriptor> described;
  int64_t most_workspace;  // a quarter of its memory, bytes: the same in every run
};

struct Plan {
  std::optional<Descriptor> engine, plan;  // none: cuDNN cannot
  int64_t workspace = 0;                   // bytes
  Dtype writes = Dtype::f32;
  std::vector<cudnnBackendNumericalNote_t> notes;  // what cuDNN says of its arithmetic
};

std::string text(const ConvProblem&);  // "grad_x of x 64x56x56x64, w 64x3x3x64"

// The first `most` admitted ones, in the heuristic's order; all write the same dtype.
std::vector<Plan> plans(const Key&, const Target&, size_t most);

}  // namespace vitrine::cuda
