// The operator registry: OpDef is the one description of an operator that every other part of the system reads, apply() the one way to
// call it, and Node what a call leaves behind. An operator is a set of sibling files in engine/ops (or quant/ops): x.cc defines it,
// x_cpu.cc and x_cuda.cu add kernels, tests/cases/x.cc adds inputs to try. Nothing else names it.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/attrs.h"
#include "engine/core/tensor.h"

namespace vitrine {

using Metas = std::vector<Meta>;
using Tensors = std::vector<Tensor>;

// What a kernel gets: checked inputs, outputs allocated (not cleared) to the shapes that infer() gave.
struct Call {
  const Tensors& in;
  Tensors& out;
  Attrs* attrs;
  template <class A>
  A& as() const {
    return static_cast<A&>(*attrs);
  }
};
using Kernel = void (*)(const Call&);

// What a backward rule gets: the inputs and outputs whose bits are set in saves_in and saves_out (of the others only the Meta). grad[i] is
// the gradient of output i, or an empty Tensor when nothing depends on it. The rule returns one gradient per input, empty where there is
// none; needs(i) says which are wanted.
struct Back {
  const Tensors& in;
  const Tensors& out;
  const Tensors& grad;
  Attrs* attrs;
  const std::vector<bool>& wanted;
  bool needs(int i) const { return wanted[i]; }
  template <class A>
  A& as() const {
    return static_cast<A&>(*attrs);
  }
};

// A backward rule that deliberately is not the derivative says what it is the derivative of, and gradcheck compares with that.
enum class Surrogate : uint8_t { none, identity_of_first };

class Ties;  // engine/core/ties.h
struct Narrowed;

struct OpDef {
  const char* name = nullptr;
  Metas (*infer)(const Metas& in, Attrs*) = nullptr;                     // every check, once, for every device
  Tensors (*backward)(const Back&) = nullptr;                            // written with operators: no device code
  AttrsPtr (*attrs)() = nullptr;                                         // default attributes; null: none
  int64_t (*macs)(const Metas& in, const Metas& out, Attrs*) = nullptr;  // multiply-accumulates; null: none worth counting
  void (*verify)(const Tensors& in, Attrs*) = nullptr;  // of a model just loaded: what only elements tell; computed inputs are empty
  void (*ties)(Ties&) = nullptr;                        // which channels are one and the same; null: not known
  AttrsPtr (*narrow)(const Narrowed&) = nullptr;        // attributes when channels have gone; null: the same
  Surrogate surrogate = Surrogate::none;
  bool view = false;                       // output 0 shares the bytes of input 0
  uint32_t saves_in = ~0u, saves_out = 0;  // bit i: backward reads the elements of input / output i
  Kernel kernel[kDevices] = {};            // filled by KernelFor objects
};

const OpDef& define(OpDef);
template <class A>
const OpDef& define(OpDef def) {
  def.attrs = []() -> AttrsPtr { return std::make_shared<A>(); };
  return define(def);
}
struct KernelFor {
  KernelFor(const char* op, Device, Kernel);
};
const std::vector<const OpDef*>& all_ops();  // by name
const OpDef& op_named(std::string_view);     // Error if there is none

// Checks, allocates, runs the kernel now; leaves a Node when an input requires a gradient; a recorder is told of it.
Tensors apply(const OpDef&, AttrsPtr, Tensors in);
inline Tensor apply1(const OpDef& op, AttrsPtr attrs, Tensors in) { return apply(op, std::move(attrs), std::move(in))[0]; }

struct Node {
  const OpDef* op;
  AttrsPtr attrs;
  Tensors in;                      // with their history; without bytes where backward does not read them
  Tensors out;                     // detached aliases (no Tensor -> Node -> Tensor cycle), likewise
  std::vector<uint32_t> versions;  // of the buffers of in, then out, when used or made
  uint64_t sequence;
};

// While a NoGrad lives, calls of this thread leave no Node for autograd.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;

 private:
  bool before_;
};
bool grad_enabled();

// While a recorder is set (engine/graph/trace), it is told of every call of this thread.
using Recorder = std::function<void(const OpDef&, const AttrsPtr&, const Tensors& in, const Tensors& out)>;
void set_recorder(Recorder*);

// While a DryRun lives, calls of this thread check, allocate and record but run no kernel: for tracing, where only shapes matter.
class DryRun {
 public:
  DryRun();
  ~DryRun();
  DryRun(const DryRun&) = delete;
};

// d(sum of y) / d(wrt[i]) by one reverse walk; the graph's history is consumed and its buffers are released as the walk passes.
// All of wrt are leaves, nothing computed. An entry is empty when y does not depend on it.
// `seed` is the gradient of y, in its dtype (default: ones).
Tensors grad(const Tensor& y, const Tensors& wrt, Tensor seed = {});

}  // namespace vitrine
