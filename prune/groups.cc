#include "prune/groups.h"

#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "engine/ops/conv2d.h"
#include "engine/ops/matmul.h"

namespace vitrine::prune {
namespace {

// Ids of all indices met so far, what was tied, and what cannot go.
class Ids {
 public:
  explicit Ids(const Graph& g) : g_(g), of_(g.values.size()), made_by_(g.values.size(), "the input") {
    for (size_t v = 0; v < of_.size(); ++v) of_[v].resize(g.values[v].meta.shape.rank());
    for (const GraphNode& n : g.nodes)
      for (Id id : n.out) made_by_[id] = n.op->name;
  }

  bool known(Id v, int axis) const { return !of_[v][axis].empty(); }
  const Channels& of(Id v, int axis) {
    Channels& c = of_[v][axis];
    if (!c.empty()) return c;
    c = fresh(g_.values[v].meta.shape[axis]);
    if (!g_.values[v].given()) fix(c, cat(made_by_[v], " makes what has no channels along axis ", axis));
    return c;
  }
  void give(Id v, int axis, const Channels& c) { of_[v][axis] = c; }
  Channels fresh(int64_t count) {
    Channels c(count);
    std::iota(c.begin(), c.end(), static_cast<int>(parent_.size()));
    parent_.insert(parent_.end(), c.begin(), c.end());
    return c;
  }
  size_t count() const { return parent_.size(); }
  int find(int a) {
    while (parent_[a] != a) a = parent_[a] = parent_[parent_[a]];
    return a;
  }
  void tie(int a, int b) { parent_[std::max(find(a), find(b))] = std::min(find(a), find(b)); }
  void fix(const Channels& c, const std::string& because) {
    for (int id : c) fixed_.emplace_back(id, because);
  }

  std::map<int, std::string> reasons() {  // root -> the first reason
    std::map<int, std::string> all;
    for (auto& [id, because] : fixed_) all.emplace(find(id), because);
    return all;
  }
  std::vector<std::vector<Channels>>& all() { return of_; }

 private:
  const Graph& g_;
  std::vector<std::vector<Channels>> of_;
  std::vector<std::string> made_by_;
  std::vector<int> parent_;
  std::vector<std::pair<int, std::string>> fixed_;
};

class NodeTies final : public Ties {
 public:
  NodeTies(const GraphNode& n, const Graph& g, Ids& ids, bool whole)
      : Ties(metas(g, n.in), metas(g, n.out), n.attrs.get(), whole), node_(n), ids_(ids) {}

  bool known(int k, int axis) const override { return ids_.known(node_.in[k], axis); }
  Channels of(int k, int axis) override {
    read_.insert({k, axis});
    return ids_.of(node_.in[k], axis);
  }
  void give(int k, int axis, const Channels& c) override { ids_.give(node_.out[k], axis, c); }
  void tie(int a, int b) override { ids_.tie(a, b); }
  Channels fresh(int64_t count) override { return ids_.fresh(count); }
  void fix(const Channels& c, const std::string& because) override { ids_.fix(c, because); }

  void fix_unread() {
    for (int k = 0; k < static_cast<int>(in.size()); ++k)
      for (int axis = 0; axis < in[k].shape.rank(); ++axis)
        if (known(k, axis) && !read_.count({k, axis}))
          fix(ids_.of(node_.in[k], axis), cat(node_.op->name, " has no rule for channels along axis ", axis, " of ", in[k].shape));
  }

 private:
  static Metas metas(const Graph& g, const std::vector<Id>& ids) {
    Metas all;
    for (Id id : ids) all.push_back(g.values[id].meta);
    return all;
  }
  const GraphNode& node_;
  Ids& ids_;
  std::set<std::pair<int, int>> read_;
};

Role role(const GraphNode& n, size_t input, int axis, const Shape& shape) {
  const std::string op = n.op->name;
  if (op == "conv2d" || op == "conv2d_grad_x") {
    if (static_cast<Conv2dAttrs&>(*n.attrs).groups > 1 && shape[3] == 1) return Role::depthwise;
    return (axis == 0) == (op == "conv2d") ? Role::out : Role::in;
  }
  if (op == "matmul" && input == 1) return (axis == 0) == (static_cast<MatmulAttrs&>(*n.attrs).tb != 0) ? Role::out : Role::in;
  if (op == "batch_norm") return input == 1 ? Role::scale : input == 2 ? Role::shift : Role::statistic;
  if (op == "prelu") return Role::slope;
  if (op == "mul" || op == "div") return Role::scale;
  return op == "add" || op == "sub" ? Role::shift : Role::other;
}

// Axes of parameters and buffers that hold channels, in the order in which the nodes read them.
std::vector<Member> members_of(const Graph& g, Ids& ids) {
  std::vector<Member> all;
  std::set<Id> seen;
  for (const GraphNode& n : g.nodes)
    for (size_t k = 0; k < n.in.size(); ++k) {
      const Value& v = g.values[n.in[k]];
      if (!v.given() || !seen.insert(n.in[k]).second) continue;
      for (int axis = 0; axis < v.meta.shape.rank(); ++axis)
        if (ids.known(n.in[k], axis)) all.push_back({n.in[k], axis, role(n, k, axis, v.meta.shape)});
    }
  return all;
}

bool makes(Role r) { return r == Role::out || r == Role::depthwise; }

void protect(const Graph& g, Ids& ids, const std::vector<Member>& members, const std::vector<std::string>& patterns) {
  for (const std::string& text : patterns) {
    const bool inputs = text.ends_with(":in");
    const std::string pattern = inputs ? text.substr(0, text.size() - 3) : text;
    bool used = false;
    for (const Member& m : members) {
      if (inputs ? m.role != Role::in : !makes(m.role)) continue;
      if (fnmatch(pattern.c_str(), layer_of(g, m.tensor).c_str(), 0) != 0) continue;
      ids.fix(ids.of(m.tensor, m.axis), cat("protected by '", text, "'"));
      used = true;
    }
    CHECK(used, "protect '", text, "': no layer with weights has this name");
  }
}

// Replaces ids by channels, numbered by group; sorts channels into groups by the members that hold them.
void collect(Structure& s, Ids& ids, const std::vector<Member>& members) {
  std::vector<std::vector<int>> held(ids.count());  // of each root: its members, ascending
  std::vector<int> order;                           // roots as they are met
  for (size_t m = 0; m < members.size(); ++m)
    for (int id : ids.of(members[m].tensor, members[m].axis)) {
      auto& list = held[ids.find(id)];
      if (list.empty()) order.push_back(ids.find(id));
      if (list.empty() || list.back() != static_cast<int>(m)) list.push_back(static_cast<int>(m));
    }
  const auto reasons = ids.reasons();
  std::map<std::pair<std::vector<int>, std::string>, int> number;
  std::vector<int> channel(ids.count(), -1);  // that no tensor holds: -1
  for (int root : order) {
    auto why = reasons.find(root);
    auto [it, fresh] = number.emplace(std::pair(held[root], why == reasons.end() ? "" : why->second), static_cast<int>(s.groups.size()));
    if (fresh) {
      s.groups.push_back({{}, {}, it->first.second});
      for (int m : held[root]) s.groups.back().members.push_back(members[m]);
    }
    channel[root] = static_cast<int>(s.group_of.size());
    s.groups[it->second].channels.push_back(channel[root]);
    s.group_of.push_back(it->second);
  }
  for (Group& group : s.groups)
    if (group.fixed.empty() && std::none_of(group.members.begin(), group.members.end(), [](const Member& m) { return makes(m.role); }))
      group.fixed = "no layer makes these channels";
  for (auto& value : ids.all())
    for (Channels& axis : value)
      for (int& id : axis) id = channel[ids.find(id)];
  s.of = std::move(ids.all());
}

}  // namespace

Structure find_groups(const Graph& g, const GroupOptions& options) {
  Ids ids(g);
  for (Id input : g.inputs) {
    const Shape& s = g.values[input].meta.shape;
    if (s.rank() < 2) continue;
    ids.give(input, s.rank() - 1, ids.fresh(s.back()));
    ids.fix(ids.of(input, s.rank() - 1), cat("the network's input ", g.values[input].name, " has them"));
  }
  for (const GraphNode& n : g.nodes) {
    NodeTies ties(n, g, ids, options.whole_groups);
    if (n.op->ties) n.op->ties(ties);
    ties.fix_unread();
  }
  if (!options.outputs)
    for (Id output : g.outputs)
      for (int axis = 0; axis < g.values[output].meta.shape.rank(); ++axis)
        if (ids.known(output, axis)) ids.fix(ids.of(output, axis), "they are the network's output");
  const auto members = members_of(g, ids);
  protect(g, ids, members, options.protect);
  Structure s;
  collect(s, ids, members);
  return s;
}

std::string layer_of(const Graph& g, Id tensor) { return stem(g.values[tensor].name); }

std::string name(const Graph& g, const Group& group) {
  for (const Member& m : group.members)
    if (makes(m.role)) return layer_of(g, m.tensor);
  return layer_of(g, group.members.at(0).tensor);
}

std::vector<std::string> layers(const Graph& g, const Group& group) {
  std::vector<std::string> names;
  for (const Member& m : group.members) {
    std::string layer = layer_of(g, m.tensor);
    if (makes(m.role)) layer += ".out";
    if (m.role == Role::in) layer += ".in";
    const bool bias = m.role == Role::shift && std::count(names.begin(), names.end(), layer + ".out");  // "fc.out" has it
    if (!bias && !std::count(names.begin(), names.end(), layer)) names.push_back(layer);
  }
  return names;
}

}  // namespace vitrine::prune
