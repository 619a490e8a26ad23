#include "engine/core/op.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>

#include "engine/core/profile.h"

namespace vitrine {
namespace {

// Static objects of many files fill this in an undefined order, so kernels are joined to operators at first use.
struct Registry {
  std::deque<OpDef> ops;
  std::map<std::string, std::array<Kernel, kDevices>> kernels;
  std::vector<const OpDef*> by_name;
};
Registry& registry() {
  static Registry r;
  return r;
}

const Registry& seal(Registry& r) {
  for (OpDef& op : r.ops) {
    if (auto it = r.kernels.find(op.name); it != r.kernels.end()) {
      std::copy(it->second.begin(), it->second.end(), op.kernel);
      r.kernels.erase(it);
    }
    r.by_name.push_back(&op);
  }
  CHECK(r.kernels.empty(), "a kernel is registered for an operator nobody defines: ", r.kernels.begin()->first);
  std::sort(r.by_name.begin(), r.by_name.end(), [](auto* a, auto* b) { return std::string(a->name) < b->name; });
  for (size_t i = 1; i < r.by_name.size(); ++i)
    CHECK(std::string(r.by_name[i - 1]->name) != r.by_name[i]->name, "operator defined twice: ", r.by_name[i]->name);
  return r;
}
const Registry& sealed() {
  static const Registry& r = seal(registry());  // by whichever thread comes first, while the others wait
  return r;
}

thread_local bool recording_gradients = true;
thread_local Recorder* recorder = nullptr;
thread_local Profile* profile = nullptr;
thread_local int dry_runs = 0;
std::atomic<uint64_t> sequence = 0;  // of all threads: a tensor of one may be read in another

std::string describe(const Tensors& in) {
  std::string s;
  for (const Tensor& t : in) s += cat(s.empty() ? "" : ", ", t ? str(t.meta()) : "empty");
  return s;
}

Metas checked_metas(const OpDef& op, const Tensors& in, Attrs* attrs) {
  CHECK(!in.empty(), op.name, ": no inputs");
  Metas metas;
  for (const Tensor& t : in) {
    CHECK(t, op.name, ": input ", metas.size(), " is an empty tensor");
    CHECK(t.device() == in[0].device(), op.name, ": inputs on ", name(in[0].device()), " and ", name(t.device()));
    metas.push_back(t.meta());
  }
  try {
    return op.infer(metas, attrs);
  } catch (const Error& e) {
    throw Error(cat(op.name, "(", describe(in), attrs ? print(*attrs) : "", "): ", e.what()));
  }
}

// Bit i of a set of inputs or outputs; the last stands for all behind it too (the optimisers take hundreds).
bool has(uint32_t set, size_t i) { return set >> std::min<size_t>(i, 31) & 1; }

void book(const OpDef& op, const Call& call, double seconds) {
  OpCost& cost = (*profile)[op.name];
  ++cost.calls, cost.seconds += seconds;
  for (const Tensor& t : call.in) cost.bytes += t.meta().nbytes();
  for (const Tensor& t : call.out) cost.bytes += t.meta().nbytes();
}

void run_kernel(const OpDef& op, const Call& call) {
  Kernel kernel = op.kernel[static_cast<int>(call.in[0].device())];
  CHECK(kernel, op.name, " has no ", name(call.in[0].device()), " kernel");
  if (!profile) return kernel(call);
  const Backend& device = backend(call.in[0].device());
  if (device.sync) device.sync();
  const auto start = std::chrono::steady_clock::now();
  kernel(call);
  if (device.sync) device.sync();
  book(op, call, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

}  // namespace

const OpDef& define(OpDef def) {
  registry().ops.push_back(def);
  return registry().ops.back();
}

KernelFor::KernelFor(const char* op, Device d, Kernel k) { registry().kernels[op][static_cast<int>(d)] = k; }

const std::vector<const OpDef*>& all_ops() { return sealed().by_name; }

const OpDef& op_named(std::string_view name) {
  for (const OpDef* op : all_ops())
    if (name == op->name) return *op;
  throw Error(cat("unknown operator '", name, "'"));
}

NoGrad::NoGrad() : before_(recording_gradients) { recording_gradients = false; }
NoGrad::~NoGrad() { recording_gradients = before_; }
bool grad_enabled() { return recording_gradients; }
void set_recorder(Recorder* r) { recorder = r; }
void set_profile(Profile* p) { profile = p; }
DryRun::DryRun() { ++dry_runs; }
DryRun::~DryRun() { --dry_runs; }

Tensors apply(const OpDef& op, AttrsPtr attrs, Tensors in) {
  sealed();
  if (!attrs && op.attrs) attrs = op.attrs();
  Tensors out;
  for (Meta& m : checked_metas(op, in, attrs.get())) {
    m.device = in[0].device();
    out.push_back(op.view && out.empty() ? in[0].view(m.shape) : Tensor::empty(m));
  }
  if (!op.view && !dry_runs) run_kernel(op, Call{in, out, attrs.get()});
  if (recorder) (*recorder)(op, attrs, in, out);
  bool wanted = recording_gradients && std::any_of(in.begin(), in.end(), [](const Tensor& t) { return t.requires_grad(); });
  if (wanted) {
    auto node = std::make_shared<Node>();
    node->op = &op;
    node->attrs = std::move(attrs);
    node->sequence = sequence++;
    for (size_t i = 0; i < in.size(); ++i) {
      bool leaf = !in[i].impl()->node && in[i].requires_grad();
      node->in.push_back(leaf || has(op.saves_in, i) ? in[i] : in[i].without_bytes());
      node->versions.push_back(node->in[i].version());
    }
    for (size_t i = 0; i < out.size(); ++i) {
      node->out.push_back(has(op.saves_out, i) ? out[i].detach() : out[i].without_bytes());
      node->versions.push_back(node->out[i].version());
    }
    for (size_t i = 0; i < out.size(); ++i) {
      out[i].impl()->node = node;
      out[i].impl()->output = static_cast<int>(i);
      out[i].set_requires_grad();
    }
  }
  return out;
}

}  // namespace vitrine
