// What to remove, and as text: the rows that each layer keeps. Ranking and counting are here, scores come from prune/importance.
//   vitrine plan 1
//   conv1.weight 64: 0-3 5 7-63
// A line names a tensor whose rows make channels (the first axis of a convolution or matrix), how many there were, and which stay.
#pragma once
#include <functional>

#include "prune/apply.h"

namespace vitrine::prune {

struct Plan {
  struct Layer {
    std::string tensor;
    int64_t rows = 0;
    std::vector<int64_t> kept;  // ascending
    bool operator==(const Layer&) const = default;
  };
  std::vector<Layer> layers;  // in the order of the graph, those that lose rows
  bool operator==(const Plan&) const = default;
};

std::string print(const Plan&);
Plan parse_plan(const std::string& text, const std::string& file);  // Error: file:line
Plan plan_of(const Graph&, const Structure&, const Removed&);
// The channels that a plan removes. Layers that it does not name follow those that it does. Error if it names what is not there, or
// removes a part of a channel, a channel that must stay, or all channels of a group.
Removed removed_by(const Plan&, const Graph&, const Structure&);
Plan then(const Plan& first, const Plan& second);  // in the rows before `first`

struct LayerRatio {
  std::string pattern;  // a layer, or a shell pattern
  double ratio = 0;
};
std::vector<LayerRatio> parse_layer_ratios(const std::string& text);  // "conv1=0.5,layer1.*=0"

struct Selection {
  double ratio = 0.2;                // share of the channels that goes
  bool global = false;               // one ranking over all groups; otherwise one for each group
  int64_t round_to = 1;              // rows of a layer that stay: a multiple of this, rounded down
  double max_ratio = 1;              // no group loses more
  std::vector<LayerRatio> layers;    // groups of these layers have a ratio of their own; the last that matches counts
  std::vector<int64_t> widths = {};  // channels of each group before the first step; empty: as they are
};

// max(1, int(channels (1 - ratio))), the published rounding.
int64_t kept(int64_t channels, double ratio);

// The channels to remove: those with the lowest scores (by channel), of equals the first. Exactly as many as were asked for; what a group
// may not give by max_ratio, others give in a global ranking. Error if nothing can be pruned, a pattern matches nothing that can, a score
// is not finite, or a group cannot keep a multiple of round_to; it says why.
Removed select(const Graph&, const Structure&, const std::vector<double>& scores, const Selection&);

// The smallest ratio whose network costs at most `target`, by bisection (selection.ratio is ignored). Error if none does.
double ratio_for(const Graph&, const Structure&, const std::vector<double>& scores, Selection, double target,
                 const std::function<double(const Graph&)>& cost);

}  // namespace vitrine::prune
