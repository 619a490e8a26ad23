// Convolutions by cuDNN's graph interface: an operation graph for each problem, the engines its heuristic names for it, and of these the
// first that our rules admit.
#include <cudnn.h>
#include <algorithm>

#include <array>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "engine/core/mode.h"
#include "engine/core/tensor.h"
#include "engine/cuda/library.h"
#include "engine/cuda/loaded.h"
#include "engine/cuda/runtime.h"

// clang-format off
#define CUDNN_FUNCTIONS(X)                                                                                                      \
  X(cudnnCreate) X(cudnnSetStream) X(cudnnGetVersion) X(cudnnGetErrorString) X(cudnnBackendCreateDescriptor)                    \
  X(cudnnBackendDestroyDescriptor) X(cudnnBackendSetAttribute) X(cudnnBackendGetAttribute) X(cudnnBackendFinalize)              \
  X(cudnnBackendExecute)
// clang-format on

namespace vitrine::cuda {
namespace {

struct Cudnn {
#define X(f) decltype(&::f) f = nullptr;
  CUDNN_FUNCTIONS(X)
#undef X
  cudnnHandle_t handle = nullptr;
  std::string why;  // it is not there; empty: it is
  Cudnn() {
    if (!load({"libcudnn.so.9"}, {CUDNN_FUNCTIONS(VITRINE_FUNCTION)}, why)) return;
    if (auto s = cudnnCreate(&handle); s != CUDNN_STATUS_SUCCESS) why = cudnnGetErrorString(s);
    if (why.empty()) cudnnSetStream(handle, stream());
  }
};
Cudnn& cudnn() {
  static auto* c = new Cudnn;
  return *c;
}

void check(cudnnStatus_t s, const char* what) {
  CHECK(s == CUDNN_STATUS_SUCCESS, "cuda: cuDNN, ", what, ": ", cudnn().cudnnGetErrorString(s));
}

// ---- descriptors -------------------------------------------------------------------------------------------------------------------

template <class T>
constexpr cudnnBackendAttributeType_t kTypeOf = CUDNN_TYPE_INT64;
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

// ---- operation graphs --------------------------------------------------------------------------------------------------------------

enum Uid : int64_t { kX = 1, kW, kY, kShift, kSlope, kResidual, kVirtual };
constexpr int64_t kAlignment = 16;  // of all tensors, bytes

struct Types {
  cudnnDataType_t in, out, sums;
};

// A problem, and which epilogue it has.
struct Key {
  ConvProblem p;
  Mode::Precision precision;
  Dtype writes;  // i8, f32 or bf16: as wished
  bool shift, slope, residual, tuned;
  bool int8() const { return writes == Dtype::i8; }
  auto operator<=>(const Key&) const = default;
};

class OperationGraph {
 public:
  OperationGraph(const Key& key, const Types& t) : key_(key), types_(t) {
    const ConvProblem& p = key.p;
    const bool makes_x = p.direction == Direction::grad_x, makes_w = p.direction == Direction::grad_w, makes_y = !makes_x && !makes_w;
    const bool more = key.shift || key.slope || key.residual;
    const size_t x = tensor(kX, makes_x ? t.out : t.in, {p.n, p.c, p.h, p.w});
    const size_t w = tensor(kW, makes_w ? t.out : t.in, {p.o, p.c / p.groups, p.kh, p.kw});
    const size_t y = more ? between() : tensor(kY, makes_y ? t.out : t.in, {p.n, p.o, p.oh, p.ow});
    convolution(x, w, y);
    if (more) epilogue(y);
    std::vector<cudnnBackendDescriptor_t> raw;
    for (size_t i : operations_) raw.push_back(all_[i].raw());
    Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph.set_all(CUDNN_ATTR_OPERATIONGRAPH_OPS, raw).set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, cudnn().handle);
    keep(std::move(graph).finalized());
  }
  const Descriptor& graph() const { return all_.back(); }

 private:
  size_t keep(Descriptor d) {
    all_.push_back(std::move(d));
    return all_.size() - 1;
  }
  // dims N,C,H,W, stored N,H,W,C.
  size_t tensor(int64_t uid, cudnnDataType_t type, std::vector<int64_t> dims, bool is_virtual = false) {
    const std::vector<int64_t> strides{dims[1] * dims[2] * dims[3], 1, dims[1] * dims[3], dims[1]};
    Descriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type).set(CUDNN_ATTR_TENSOR_DIMENSIONS, dims).set(CUDNN_ATTR_TENSOR_STRIDES, strides);
    d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid).set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment);
    if (is_virtual) d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
    return keep(std::move(d).finalized());
  }
  std::vector<int64_t> y_dims() const { return {key_.p.n, key_.p.o, key_.p.oh, key_.p.ow}; }
  size_t between() { return tensor(kVirtual + virtuals_++, CUDNN_DATA_FLOAT, y_dims(), true); }

  void convolution(size_t x, size_t w, size_t y) {
    const ConvProblem& p = key_.p;
    auto pair = [](int64_t a, int64_t b) { return std::vector<int64_t>{a, b}; };
    Descriptor c(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    c.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, types_.sums).set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
    c.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2}).set(CUDNN_ATTR_CONVOLUTION_DILATIONS, pair(p.dilation_h, p.dilation_w));
    c.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, pair(p.stride_h, p.stride_w));
    c.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, pair(p.pad_h, p.pad_w)).set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, pair(p.pad_h, p.pad_w));
    const size_t how = keep(std::move(c).finalized());
    auto operation = [&](cudnnBackendDescriptorType_t type, std::array<cudnnBackendAttributeName_t, 6> name) {
      Descriptor o(type);
      o.set(name[0], all_[x]).set(name[1], all_[w]).set(name[2], all_[y]).set(name[3], all_[how]).set(name[4], 1.0f).set(name[5], 0.0f);
      operations_.push_back(keep(std::move(o).finalized()));
    };
    if (p.direction == Direction::forward)
      operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA});
    else if (p.direction == Direction::grad_x)
      operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA});
    else
      operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA});
  }

  size_t pointwise(cudnnPointwiseMode_t mode, size_t x, std::optional<size_t> b, size_t y) {
    Descriptor how(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    how.set(CUDNN_ATTR_POINTWISE_MODE, mode).set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    const size_t kept = keep(std::move(how).finalized());
    Descriptor o(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    o.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, all_[kept]).set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, all_[x]);
    if (b) o.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, all_[*b]);
    o.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, all_[y]);
    operations_.push_back(keep(std::move(o).finalized()));
    return y;
  }
  // prelu(v) = relu(v) + slope (v - relu(v)): one of the terms is zero, so the value is that of the definition if v is finite.
  void epilogue(size_t v) {
    int left = key_.shift + key_.slope + key_.residual;
    auto target = [&] { return --left ? between() : tensor(kY, types_.out, y_dims()); };
    auto per_channel = [&](Uid uid) { return tensor(uid, CUDNN_DATA_FLOAT, {1, key_.p.o, 1, 1}); };
    if (key_.shift) v = pointwise(CUDNN_POINTWISE_ADD, v, per_channel(kShift), target());
    if (key_.slope) {
      const size_t positive = pointwise(CUDNN_POINTWISE_RELU_FWD, v, {}, between());
      const size_t negative = pointwise(CUDNN_POINTWISE_SUB, v, positive, between());
      const size_t sloped = pointwise(CUDNN_POINTWISE_MUL, negative, per_channel(kSlope), between());
      v = pointwise(CUDNN_POINTWISE_ADD, positive, sloped, target());
    }
    if (key_.residual) pointwise(CUDNN_POINTWISE_ADD, v, tensor(kResidual, CUDNN_DATA_FLOAT, y_dims()), target());
  }

  const Key& key_;
  const Types types_;
  std::vector<Descriptor> all_;
  std::vector<size_t> operations_;
  int64_t virtuals_ = 0;
};

// ---- plans -------------------------------------------------------------------------------------------------------------------------

struct Plan {
  std::optional<Descriptor> engine, plan;  // none: cuDNN cannot
  int64_t workspace = 0;
  Dtype writes = Dtype::f32;
};

// Deterministic; sums in f32; inputs as they are; in strict f32 no tensor cores, which would round them to TF32. Winograd's smaller tile
// is admitted, as on the cpu; the larger ones, and Fourier transforms, are not.
bool admits(const Key& key, const Descriptor& config) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.raw();
  config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  const int64_t count = engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, notes.size(), notes.data());
  for (int64_t i = 0; i < count; ++i) switch (notes[i]) {
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
        if (!key.int8() && key.precision == Mode::Precision::f32) return false;
        break;
      case CUDNN_NUMERICAL_NOTE_WINOGRAD:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
      case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP:
        break;
      default:
        return false;
    }
  return true;
}

std::vector<Descriptor> configs(const Descriptor& graph, cudnnBackendHeurMode_t mode) {
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph).set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  std::vector<Descriptor> all;
  if (!heuristic.can_be_finalized()) return all;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t left = heuristic.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr); left > 0; --left)
    raw.push_back(all.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
  if (raw.empty()) return all;
  const int64_t given = heuristic.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, raw.size(), raw.data());
  while (static_cast<int64_t>(all.size()) > given) all.pop_back();
  return all;
}

// A quarter of the device's memory: the same in every run. In strict f32 every fast engine copies x and y to N,C,H,W, 1.6 GB for the first
// block of an IResNet at batch 256; beside them there is only one of the last resort.
int64_t most_workspace() {
  static const int64_t most = [] {
    size_t free = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return static_cast<int64_t>(total / 4);
  }();
  return most;
}

std::optional<Plan> plan_of(Descriptor config) {
  Plan p;
  p.plan.emplace(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  p.plan->set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, cudnn().handle).set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  if (!p.plan->can_be_finalized()) return {};
  p.plan->get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &p.workspace);
  if (p.workspace > most_workspace()) return {};
  p.engine.emplace(std::move(config));
  return p;
}

struct Arguments {
  void *x, *w, *y;
  Epilogue e;
};

cudnnStatus_t execute(const Plan& plan, const Arguments& a) {
  std::vector<int64_t> uids{kX, kW, kY};
  std::vector<void*> places{a.x, a.w, a.y};
  for (auto [uid, place] : {std::pair{kShift, a.e.shift}, {kSlope, a.e.slope}, {kResidual, a.e.residual}})
    if (place) uids.push_back(uid), places.push_back(const_cast<float*>(place));
  Buffer workspace(Device::cuda, plan.workspace);
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, uids).set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, places);
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, static_cast<void*>(workspace.data));
  pack = std::move(pack).finalized();
  return cudnn().cudnnBackendExecute(cudnn().handle, plan.plan->raw(), pack.raw());
}

// The first `most` admitted ones, in the heuristic's order. With an epilogue those of the last resort are none: two passes are faster.
std::vector<Plan> plans(const Key& key, const Types& types, size_t most) {
  const OperationGraph operations(key, types);
  std::vector<Plan> all;
  for (auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (Descriptor& config : configs(operations.graph(), mode)) {
      if (all.size() == most) return all;
      if (!admits(key, config)) continue;
      if (auto plan = plan_of(std::move(config))) {
        plan->writes = types.out == CUDNN_DATA_INT8 ? Dtype::i8 : types.out == CUDNN_DATA_BFLOAT16 ? Dtype::bf16 : Dtype::f32;
        all.push_back(std::move(*plan));
      }
    }
    if (!all.empty() || key.shift || key.slope || key.residual) break;
  }
  return all;
}

float milliseconds(const Plan& plan, const Arguments& a) {
  cudaEvent_t from = nullptr, to = nullptr;
  CUDA_CHECK(cudaEventCreate(&from));
  CUDA_CHECK(cudaEventCreate(&to));
  float best = std::numeric_limits<float>::infinity();
  for (int i = 0; i < 4; ++i) {  // the first warms up
    float taken = best;
    CUDA_CHECK(cudaEventRecord(from, stream()));
    const bool ran = execute(plan, a) == CUDNN_STATUS_SUCCESS;
    CUDA_CHECK(cudaEventRecord(to, stream()));
    CUDA_CHECK(cudaEventSynchronize(to));
    if (!ran) break;
    CUDA_CHECK(cudaEventElapsedTime(&taken, from, to));
    if (i > 0) best = std::min(best, taken);
  }
  cudaEventDestroy(from), cudaEventDestroy(to);
  return best;
}

Plan fastest(std::vector<Plan> all, const Arguments& a) {
  size_t best = 0;
  float least = std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < all.size(); ++i)
    if (const float t = milliseconds(all[i], a); t < least) least = t, best = i;
  return std::move(all[best]);
}

// What may be written, the preferred first. Sums of int8, and gradients of weights, it writes in f32 only by engines of the last resort.
std::vector<cudnnDataType_t> outs(const Key& key) {
  if (key.int8()) return {CUDNN_DATA_INT8};
  if (key.precision != Mode::Precision::bf16) return {CUDNN_DATA_FLOAT};
  if (key.p.direction == Direction::grad_w || key.writes == Dtype::bf16) return {CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT};
  return {CUDNN_DATA_FLOAT, CUDNN_DATA_BFLOAT16};
}

Plan make_plan(const Key& key, const Arguments* measured_on) {
  constexpr size_t kMeasured = 8;
  const auto in = key.int8() ? CUDNN_DATA_INT8 : key.precision == Mode::Precision::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  std::vector<Plan> all;
  for (cudnnDataType_t out : outs(key)) {
    const bool fits = key.writes != Dtype::bf16 || out == CUDNN_DATA_BFLOAT16;  // into the place that trials write to
    try {
      all = plans(key, {in, out, key.int8() ? CUDNN_DATA_INT32 : CUDNN_DATA_FLOAT}, measured_on && fits ? kMeasured : 1);
    } catch (const Error&) {  // a graph that this version of cuDNN refuses
    }
    if (!all.empty()) return all.size() > 1 ? fastest(std::move(all), *measured_on) : std::move(all[0]);
  }
  return {};
}

bool recording() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  CUDA_CHECK(cudaStreamIsCapturing(stream(), &status));
  return status != cudaStreamCaptureStatusNone;
}

Plan& plan_for(const Key& key, const Arguments& a) {
  static auto* all = new std::map<Key, Plan>;
  auto it = all->find(key);
  if (it == all->end()) it = all->emplace(key, make_plan(key, key.tuned && !recording() ? &a : nullptr)).first;
  return it->second;
}

std::string text(const Key& key) {
  const ConvProblem& p = key.p;
  const char* direction = p.direction == Direction::forward ? "convolution" : p.direction == Direction::grad_x ? "grad_x" : "grad_w";
  return cat(direction, " of x ", p.n, "x", p.h, "x", p.w, "x", p.c, ", w ", p.o, "x", p.kh, "x", p.kw, "x", p.c / p.groups);
}

int64_t numel_written(const ConvProblem& p) {
  if (p.direction == Direction::grad_x) return int64_t{p.n} * p.h * p.w * p.c;
  if (p.direction == Direction::grad_w) return int64_t{p.o} * p.kh * p.kw * (p.c / p.groups);
  return int64_t{p.n} * p.oh * p.ow * p.o;
}

bool run(const ConvProblem& p, Dtype writes, Arguments a, Tensor* instead) {
  if (!cudnn().why.empty() || p.n == 0) return false;
  for (const void* place : {static_cast<const void*>(a.x), static_cast<const void*>(a.w), static_cast<const void*>(a.y),
                            static_cast<const void*>(a.e.residual)})
    if (reinterpret_cast<uintptr_t>(place) % kAlignment) return false;
  const Key key{p, mode().precision, writes, a.e.shift != nullptr, a.e.slope != nullptr, a.e.residual != nullptr, mode().tuned};
  Plan& plan = plan_for(key, a);
  if (!plan.plan) return false;
  if (plan.writes != writes) {
    *instead = Tensor::empty({{numel_written(p)}, plan.writes, Device::cuda});
    (p.direction == Direction::grad_x ? a.x : p.direction == Direction::grad_w ? a.w : a.y) = instead->raw();
  }
  const cudnnStatus_t status = execute(plan, a);
  if (status / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000) plan = {};  // found out late; our own kernel from now on
  CHECK(!plan.plan || status == CUDNN_STATUS_SUCCESS, "cuda: cuDNN, ", text(key), ": ", cudnn().cudnnGetErrorString(status));
  return plan.plan.has_value();
}

}  // namespace

bool cudnn_conv(const ConvProblem& p, void* x, void* w, void* y, const Epilogue& e, Dtype writes, Tensor* instead) {
  return mode().libraries && run(p, writes, {x, w, y, e}, instead);
}
bool cudnn_conv_int8(const ConvProblem& p, void* x, void* w, void* y) { return run(p, Dtype::i8, {x, w, y, {}}, nullptr); }

std::string cudnn_text() { return cudnn().why.empty() ? "cuDNN " + dotted(cudnn().cudnnGetVersion()) : "no cuDNN (" + cudnn().why + ")"; }

}  // namespace vitrine::cuda
