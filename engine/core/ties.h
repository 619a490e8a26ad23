// What an operator says of channels, for pruning: OpDef::ties tells which indices along which axes of its values stand or fall together,
// OpDef::narrow what becomes of its attributes when some have gone. One pass over a graph (prune/groups) asks every node in order.
#pragma once
#include <functional>
#include <vector>

#include "engine/core/op.h"

namespace vitrine {

// The channel of each index along an axis. A channel is a number; those that were tied are one.
using Channels = std::vector<int>;

// One node, as its rule sees it. Axes that a rule does not speak of hold no channels: batch, height, width. A rule must ask for (`of`)
// every axis of its inputs whose channels it understands; the channels of known axes that it leaves unread cannot be pruned.
class Ties {
 public:
  Ties(Metas in, Metas out, Attrs* attrs, bool whole) : in(std::move(in)), out(std::move(out)), whole_groups(whole), attrs_(attrs) {}
  virtual ~Ties() = default;

  const Metas in, out;
  const bool whole_groups;  // the wish for grouped convolutions: groups go as a whole, instead of all becoming narrower

  virtual bool known(int input, int axis) const = 0;                  // are this axis' indices channels, by the nodes before?
  virtual Channels of(int input, int axis) = 0;                       // new ones for a parameter that nobody has read before
  virtual void give(int output, int axis, const Channels&) = 0;       // says what the indices of an output are
  virtual void tie(int a, int b) = 0;                                 // one goes only with the other
  virtual Channels fresh(int64_t count) = 0;                          // channels that no input has
  virtual void fix(const Channels&, const std::string& because) = 0;  // none of these can go

  void tie(const Channels& a, const Channels& b) {
    CHECK(a.size() == b.size(), "ties: ", a.size(), " channels and ", b.size());
    for (size_t i = 0; i < a.size(); ++i) tie(a[i], b[i]);
  }
  template <class A>
  A& as() const {
    return static_cast<A&>(*attrs_);
  }

 private:
  Attrs* attrs_;
};

// One node after channels were taken away: the shapes of its inputs and outputs as they are now.
struct Narrowed {
  const Metas &in, &out;
  Attrs* attrs;                                                           // as they were
  std::function<int64_t(int input, int axis, int64_t index)> left_below;  // how many of the indices below `index` are left
};

}  // namespace vitrine
