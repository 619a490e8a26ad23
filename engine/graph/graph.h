// Graph: a network as data, with ids instead of pointers. The one form that autograd's calls are recorded to (trace), that files hold
// (print, parse), that passes rewrite (quant, prune), that costs are counted on and that run() replays through apply().
// Shapes are those of the example it was traced with; the first extent of inputs is the batch and may differ when run.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/op.h"

namespace vitrine {

using Id = int;  // index into Graph::values

struct Value {
  enum class Kind : uint8_t { computed, input, parameter, buffer };  // buffer: state that no gradient reaches (running statistics)
  Kind kind = Kind::computed;
  bool given() const { return kind == Kind::parameter || kind == Kind::buffer; }
  std::string name;  // of inputs, parameters and buffers: unique; computed values have none
  Meta meta;
};

struct GraphNode {
  const OpDef* op = nullptr;
  AttrsPtr attrs;  // shared between copies of a graph: replace it, never change it in place
  std::vector<Id> in, out;
};

inline bool is(const GraphNode& n, std::string_view op) { return n.op->name == op; }
inline bool is(const GraphNode* n, std::string_view op) { return n && is(*n, op); }

struct Graph {
  struct Update {
    Id state, value;
  };  // after a run, buffer `state` takes `value`

  std::vector<Value> values;
  std::vector<GraphNode> nodes;  // in an order that can be executed
  std::vector<Id> inputs, outputs;
  std::vector<Update> updates;

  Id add_value(Value::Kind, std::string name, Meta);
  std::vector<Id> add_node(const OpDef&, AttrsPtr, std::vector<Id> in);  // at the end; infers and adds the outputs
  Id find(const std::string& name) const;                                // -1 if there is none
  std::vector<Id> named(Value::Kind) const;                              // ids of that kind, in order
};

// The nodes that read each value, in order; one that is null stands for an output or an update.
class Readers {
 public:
  explicit Readers(const Graph&);
  const std::vector<const GraphNode*>& of(Id id) const { return all_[id]; }
  const GraphNode* sole(Id id) const { return all_[id].size() == 1 ? all_[id][0] : nullptr; }

 private:
  std::vector<std::vector<const GraphNode*>> all_;
};

// "layer1.0.conv1.weight" -> "layer1.0.conv1"
inline std::string stem(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

std::string print(const Graph&);
Graph parse_graph(const std::string& text);  // Error with the line number
void check(const Graph&);                    // re-infers every node; run after each pass. Error names the node.
uint64_t hash(const Graph&);                 // of print(): derived from the graph, never listed by hand

// Tensors by name: a graph's parameters and buffers.
using TensorMap = std::map<std::string, Tensor>;

// A model is a graph with its tensors; `info` holds what else a user must know (mean, std, bgr, source, ...), saved with it.
struct Model {
  Graph graph;
  TensorMap tensors;
  std::map<std::string, std::string> info;
};
void check(const Model&);        // the graph, that every named tensor is there with the right dtype and shape, and what operators verify
Model clone(const Model&);       // own bytes
Model to(const Model&, Device);  // its tensors there; those that are there already are shared
Device device_of(const Model&);  // where its tensors are; cpu if it has none

// Runs the graph through apply(), on the device of the tensors. Values are dropped after their last use unless autograd holds them.
// `watch`, if given, sees every computed value. Updates are applied to `tensors` at the end.
using Watch = std::function<void(const GraphNode&, const Tensors& out)>;
Tensors run(const Graph&, const TensorMap& tensors, const Tensors& inputs, const Watch& watch = {});

// Records the calls that `forward` makes into a graph; no kernel runs, so `forward` must not look at elements. `named` gives the leaf
// tensors that become parameters and buffers.
struct NamedTensor {
  std::string name;
  Tensor tensor;
  Value::Kind kind;
};
Graph trace(const std::vector<NamedTensor>& named, const Tensor& example, const std::function<Tensor(const Tensor&)>& forward);

// Cost of one image (batch 1).
struct NodeCost {
  std::string name;
  const OpDef* op;
  Shape out;
  int64_t macs, params;
};
struct Count {
  int64_t params = 0, buffers = 0, macs = 0;
  std::vector<NodeCost> nodes;
};
Count count(const Graph&);

}  // namespace vitrine
