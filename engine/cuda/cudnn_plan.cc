// What cuDNN is asked for: the graph of a convolution and its epilogue, and the engines that our rules admit.
#include "engine/cuda/cudnn_plan.h"

#include <algorithm>
#include <array>

#include "engine/cuda/loaded.h"
#include "engine/cuda/runtime.h"

namespace vitrine::cuda {

Cudnn::Cudnn() {
  loaded = load({"libcudnn.so.9"}, {CUDNN_FUNCTIONS(VITRINE_FUNCTION)}, why);
  if (!loaded) return;
  if (auto s = cudnnCreate(&handle); s != CUDNN_STATUS_SUCCESS) why = cudnnGetErrorString(s);
  if (why.empty()) cudnnSetStream(handle, stream());
}

Cudnn& cudnn() {
  static auto* c = new Cudnn;
  return *c;
}

void check(cudnnStatus_t s, const char* what) {
  if (s == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 256> more{};
  cudnn().cudnnGetLastErrorString(more.data(), more.size());
  throw Error(cat("cuda: cuDNN, ", what, ": ", cudnn().cudnnGetErrorString(s), *more.data() ? ", " : "", more.data()));
}

Target::Target() {
  size_t free = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  most_workspace = static_cast<int64_t>(total / 4);
}

Target::Target(const std::string& properties, int64_t memory) : most_workspace(memory / 4) {
  Descriptor d(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  d.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::vector<char>(properties.begin(), properties.end()));
  described.emplace(std::move(d).finalized());
}

namespace {

// ---- operation graphs --------------------------------------------------------------------------------------------------------------

struct Types {
  cudnnDataType_t in, out, sums;
};

class OperationGraph {
 public:
  OperationGraph(const Key& key, const Types& t, const Target& target) : key_(key), types_(t) {
    const ConvProblem& p = key.p;
    const bool makes_x = p.direction == Direction::grad_x, makes_w = p.direction == Direction::grad_w, makes_y = !makes_x && !makes_w;
    const size_t x = tensor(kX, makes_x ? t.out : t.in, {p.n, p.c, p.h, p.w});
    const size_t w = tensor(kW, makes_w ? t.out : t.in, {p.o, p.c / p.groups, p.kh, p.kw});
    const size_t y = key.epilogue() ? between() : tensor(kY, makes_y ? t.out : t.in, {p.n, p.o, p.oh, p.ow});
    convolution(x, w, y);
    if (key.epilogue()) epilogue(y);
    std::vector<cudnnBackendDescriptor_t> raw;
    for (size_t i : operations_) raw.push_back(all_[i].raw());
    Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph.set_all(CUDNN_ATTR_OPERATIONGRAPH_OPS, raw);
    if (!target.described) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, cudnn().handle);
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

std::vector<cudnnBackendNumericalNote_t> notes_of(const Descriptor& config) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.raw();
  config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
  std::vector<cudnnBackendNumericalNote_t> notes(CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  notes.resize(engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes.data()));
  return notes;
}

// Deterministic; sums in f32; inputs as they are; in strict f32 no tensor cores, which would round them to TF32. Winograd's smaller tile
// is admitted, as on the cpu; the larger ones, and Fourier transforms, are not. With an epilogue, tensor cores only: the engine that fuses
// without them took 46 times as long as two passes.
bool admits(const Key& key, const std::vector<cudnnBackendNumericalNote_t>& notes) {
  for (cudnnBackendNumericalNote_t note : notes) switch (note) {
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
  return !key.epilogue() || std::count(notes.begin(), notes.end(), CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
}

std::vector<Descriptor> configs(const Descriptor& graph, const Target& target, cudnnBackendHeurMode_t mode) {
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph).set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  if (target.described) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.described);
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

// In strict f32 every fast engine copies x and y to N,C,H,W, 1.6 GB for the first block of an IResNet at batch 256; where that is more than
// may be taken, there is only one of the last resort.
std::optional<Plan> plan_of(Descriptor config, const Target& target) {
  Plan p;
  p.plan.emplace(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  p.plan->set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  if (target.described)
    p.plan->set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.described);
  else
    p.plan->set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, cudnn().handle);
  if (!p.plan->can_be_finalized()) return {};
  p.plan->get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &p.workspace);
  if (p.workspace > target.most_workspace) return {};
  p.engine.emplace(std::move(config));
  return p;
}

// With an epilogue those of the last resort are none: two passes are faster.
std::vector<Plan> plans(const Key& key, const Types& types, const Target& target, size_t most) {
  const OperationGraph operations(key, types, target);
  std::vector<Plan> all;
  for (auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (Descriptor& config : configs(operations.graph(), target, mode)) {
      if (all.size() == most) return all;
      auto notes = notes_of(config);
      if (!admits(key, notes)) continue;
      if (auto plan = plan_of(std::move(config), target)) {
        plan->notes = std::move(notes);
        plan->writes = types.out == CUDNN_DATA_INT8 ? Dtype::i8 : types.out == CUDNN_DATA_BFLOAT16 ? Dtype::bf16 : Dtype::f32;
        all.push_back(std::move(*plan));
      }
    }
    if (!all.empty() || key.epilogue()) break;
  }
  return all;
}

// What may be written, the preferred first. Sums of int8, and gradients of weights, it writes in f32 only by engines of the last resort.
std::vector<cudnnDataType_t> outs(const Key& key) {
  if (key.int8()) return {CUDNN_DATA_INT8};
  if (key.precision != Mode::Precision::bf16) return {CUDNN_DATA_FLOAT};
  if (key.p.direction == Direction::grad_w || key.writes == Dtype::bf16) return {CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT};
  return {CUDNN_DATA_FLOAT, CUDNN_DATA_BFLOAT16};
}

}  // namespace

std::string text(const ConvProblem& p) {
  const char* direction = p.direction == Direction::forward ? "convolution" : p.direction == Direction::grad_x ? "grad_x" : "grad_w";
  return cat(direction, " of x ", p.n, "x", p.h, "x", p.w, "x", p.c, ", w ", p.o, "x", p.kh, "x", p.kw, "x", p.c / p.groups);
}

std::vector<Plan> plans(const Key& key, const Target& target, size_t most) {
  const auto in = key.int8() ? CUDNN_DATA_INT8 : key.precision == Mode::Precision::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  for (cudnnDataType_t out : outs(key)) {
    try {
      auto all = plans(key, {in, out, key.int8() ? CUDNN_DATA_INT32 : CUDNN_DATA_FLOAT}, target, most);
      if (!all.empty()) return all;
    } catch (const Error&) {  // a graph that this version of cuDNN refuses
    }
  }
  return {};
}

}  // namespace vitrine::cuda
