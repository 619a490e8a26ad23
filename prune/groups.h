// Which channels of a network stand or fall together. Every index along every channel axis gets an id; each operator's `ties` rule unites
// ids; what is one at the end (a Channel of `Structure`) can only go as a whole, from all layers that hold a part of it. Channels that are
// held by the same axes of the same tensors form a group: they are alike, and ranking them against each other makes sense.
// Works on any Graph; almost linear in the number of indices.
#pragma once
#include <string>
#include <vector>

#include "engine/core/ties.h"
#include "engine/graph/graph.h"

namespace vitrine::prune {

// What an axis of a parameter or buffer is to the channels along it: made by its rows (out; depthwise: one per channel), read by its
// columns (in), or passed with a scale, a shift, a slope or statistics of their own.
enum class Role : uint8_t { out, depthwise, in, scale, shift, slope, statistic, other };

struct Member {
  Id tensor;
  int axis;
  Role role;
};

struct Group {
  std::vector<Member> members;  // in the order in which the graph reads them
  std::vector<int> channels;    // in the order of their indices in the first member
  std::string fixed;            // why none of them may go; empty: they may
};

struct Structure {
  std::vector<std::vector<Channels>> of;  // [value][axis]: the channel of each index, -1: no tensor holds it; empty: none
  std::vector<Group> groups;              // in the order of the graph
  std::vector<int> group_of;              // channel -> group
};

struct GroupOptions {
  bool outputs = false;              // may the network's outputs (the embedding) become narrower?
  bool whole_groups = false;         // grouped convolutions lose groups, instead of all groups becoming narrower
  std::vector<std::string> protect;  // layers that keep all outputs, shell patterns ("layer1.*"); with ":in" at the end: all inputs
};

// Error if a pattern matches no layer.
Structure find_groups(const Graph&, const GroupOptions& = {});

std::string layer_of(const Graph&, Id tensor);                // "layer1.0.conv1.weight": layer1.0.conv1
std::string name(const Graph&, const Group&);                 // of the layer that makes its channels first
std::vector<std::string> layers(const Graph&, const Group&);  // "conv1.out", "bn1", "layer1.0.conv1.in", ..., each once

}  // namespace vitrine::prune
