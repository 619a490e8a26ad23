// Convolutions by cuDNN: a plan for each problem, made when it is first met and kept.
#include <algorithm>
#include <limits>
#include <map>

#include "engine/cuda/cudnn_plan.h"
#include "engine/cuda/loaded.h"
#include "engine/cuda/runtime.h"

namespace vitrine::cuda {
namespace {

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

Plan make_plan(const Key& key, const Arguments* measured_on) {
  constexpr size_t kMeasured = 8;
  static const Target here;
  std::vector<Plan> all = plans(key, here, measured_on ? kMeasured : 1);
  if (all.empty()) return {};
  const bool fits = key.writes != Dtype::bf16 || all[0].writes == Dtype::bf16;  // into the place that trials write to
  return all.size() > 1 && fits ? fastest(std::move(all), *measured_on) : std::move(all[0]);
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
  CHECK(!plan.plan || status == CUDNN_STATUS_SUCCESS, "cuda: cuDNN, ", text(p), ": ", cudnn().cudnnGetErrorString(status));
  return plan.plan.has_value();
}

}  // namespace

bool cudnn_conv(const ConvProblem& p, void* x, void* w, void* y, const Epilogue& e, Dtype writes, Tensor* instead) {
  return mode().libraries && run(p, writes, {x, w, y, e}, instead);
}
bool cudnn_conv_int8(const ConvProblem& p, void* x, void* w, void* y) { return run(p, Dtype::i8, {x, w, y, {}}, nullptr); }

std::string cudnn_text() { return cudnn().why.empty() ? "cuDNN " + dotted(cudnn().cudnnGetVersion()) : "no cuDNN (" + cudnn().why + ")"; }

}  // namespace vitrine::cuda
