#include "prune/plan.h"

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

#include "engine/core/text.h"

namespace vitrine::prune {
namespace {

constexpr const char* kHeader = "vitrine plan 1";
constexpr int64_t kMaxRows = 1 << 20;  // of all layers together: a hostile file cannot make us large

const Member* maker(const Group& group) {
  for (const Member& m : group.members)
    if (m.role == Role::out || m.role == Role::depthwise) return &m;
  return nullptr;
}

int64_t number(std::string_view text) {
  const int64_t v = number_from<int64_t>(text).value_or(-1);
  CHECK(v >= 0, "'", text.substr(0, 40), "' is not a number");
  return v;
}

Plan::Layer parse_line(const std::string& line, int64_t& budget) {
  std::istringstream words(line);
  Plan::Layer layer;
  std::string rows, range;
  words >> layer.tensor >> rows;
  CHECK(rows.size() > 1 && rows.back() == ':', "expected <tensor> <rows>: <kept rows>");
  layer.rows = number(std::string_view(rows).substr(0, rows.size() - 1));
  while (words >> range) {
    const size_t dash = range.find('-');
    const int64_t first = number(std::string_view(range).substr(0, dash));
    const int64_t last = dash == std::string::npos ? first : number(std::string_view(range).substr(dash + 1));
    CHECK(first <= last && last < layer.rows && (layer.kept.empty() || first > layer.kept.back()), "'", range.substr(0, 40),
          "': expected rows in ascending order, below ", layer.rows);
    CHECK((budget -= last - first + 1) >= 0, "more than ", kMaxRows, " rows");
    for (int64_t i = first; i <= last; ++i) layer.kept.push_back(i);
  }
  CHECK(!layer.kept.empty(), layer.tensor.substr(0, 100), " keeps no row");
  return layer;
}

}  // namespace

std::string print(const Plan& plan) {
  std::ostringstream out;
  out << kHeader << "\n";
  for (auto& layer : plan.layers) {
    out << layer.tensor << " " << layer.rows << ":";
    for (size_t i = 0; i < layer.kept.size();) {
      size_t end = i + 1;
      while (end < layer.kept.size() && layer.kept[end] == layer.kept[end - 1] + 1) ++end;
      out << " " << layer.kept[i];
      if (end > i + 1) out << "-" << layer.kept[end - 1];
      i = end;
    }
    out << "\n";
  }
  return out.str();
}

Plan parse_plan(const std::string& text, const std::string& file) {
  std::istringstream in(text);
  Plan plan;
  std::string line;
  int64_t budget = kMaxRows;
  std::set<std::string> seen;
  CHECK(std::getline(in, line) && line == kHeader, file, ":1: expected the line '", kHeader, "'");
  for (int at = 2; std::getline(in, line); ++at) {
    if (line.empty() || line[0] == '#') continue;
    try {
      plan.layers.push_back(parse_line(line, budget));
      CHECK(seen.insert(plan.layers.back().tensor).second, plan.layers.back().tensor.substr(0, 100), " is named twice");
    } catch (const Error& e) {
      throw Error(cat(file, ":", at, ": ", e.what()));
    }
  }
  return plan;
}

Plan plan_of(const Graph& g, const Structure& s, const Removed& removed) {
  Plan plan;
  std::set<Id> done;
  for (const GraphNode& n : g.nodes)
    for (Id id : n.in) {
      if (!done.insert(id).second) continue;
      for (const Group& group : s.groups)
        for (const Member& m : group.members) {
          if (m.tensor != id || (m.role != Role::out && m.role != Role::depthwise)) continue;
          auto keep = left(s.of[id][m.axis], removed);
          const auto rows = static_cast<int64_t>(s.of[id][m.axis].size());
          const bool listed = !plan.layers.empty() && plan.layers.back().tensor == g.values[id].name;
          if (static_cast<int64_t>(keep.size()) < rows && !listed) plan.layers.push_back({g.values[id].name, rows, keep});
        }
    }
  return plan;
}

Removed removed_by(const Plan& plan, const Graph& g, const Structure& s) {
  std::map<std::string, const Member*> makers;
  for (const Group& group : s.groups)
    for (const Member& m : group.members)
      if (m.role == Role::out || m.role == Role::depthwise) makers[g.values[m.tensor].name] = &m;
  std::vector<std::string> kept_by(s.group_of.size()), removed_by(s.group_of.size());
  for (auto& layer : plan.layers) {
    auto it = makers.find(layer.tensor);
    CHECK(it != makers.end(), "plan: no layer has weights ", layer.tensor);
    const Channels& rows = s.of[it->second->tensor][it->second->axis];
    CHECK(layer.rows == static_cast<int64_t>(rows.size()), "plan: ", layer.tensor, " has ", rows.size(), " rows, the plan says ",
          layer.rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      const bool keep = std::binary_search(layer.kept.begin(), layer.kept.end(), static_cast<int64_t>(i));
      (keep ? kept_by : removed_by)[rows[i]] = layer.tensor;
      CHECK(kept_by[rows[i]].empty() || removed_by[rows[i]].empty(), "plan: row ", i, " of ", layer.tensor,
            " is one channel with others: ", removed_by[rows[i]], " removes it, ", kept_by[rows[i]], " keeps it");
    }
  }
  Removed removed(s.group_of.size());
  for (size_t c = 0; c < removed.size(); ++c) removed[c] = !removed_by[c].empty();
  for (const Group& group : s.groups) {
    const auto gone = std::count_if(group.channels.begin(), group.channels.end(), [&](int c) { return removed[c]; });
    CHECK(gone == 0 || group.fixed.empty(), "plan: ", name(g, group), " cannot lose channels: ", group.fixed);
    CHECK(gone < static_cast<int64_t>(group.channels.size()), "plan: ", name(g, group), " would lose all channels of a group");
  }
  return removed;
}

Plan then(const Plan& first, const Plan& second) {
  Plan all = first;
  for (auto& layer : second.layers) {
    auto it = std::find_if(all.layers.begin(), all.layers.end(), [&](auto& l) { return l.tensor == layer.tensor; });
    if (it == all.layers.end()) {
      all.layers.push_back(layer);
      continue;
    }
    CHECK(layer.rows == static_cast<int64_t>(it->kept.size()), "plan: ", layer.tensor, " has ", it->kept.size(),
          " rows after the first step, not ", layer.rows);
    std::vector<int64_t> kept;
    for (int64_t i : layer.kept) kept.push_back(it->kept[i]);
    it->kept = kept;
  }
  return all;
}

std::vector<LayerRatio> parse_layer_ratios(const std::string& text) {
  std::vector<LayerRatio> all;
  std::istringstream list(text);
  for (std::string item; std::getline(list, item, ',');) {
    const size_t at = item.rfind('=');
    const double ratio = at == std::string::npos ? -1 : number_from<double>(item.substr(at + 1)).value_or(-1);
    CHECK(at != std::string::npos && at > 0 && ratio >= 0 && ratio < 1, "layer ratios '", item, "': expected <layer>=<0 to below 1>");
    all.push_back({item.substr(0, at), ratio});
  }
  return all;
}

int64_t kept(int64_t channels, double ratio) {
  return std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(channels) * (1 - ratio)));
}

namespace {

// A group that takes part in the ranking.
struct Ranked {
  const Group* group;
  int64_t width;           // channels before the first step
  int64_t unit;            // channels of the group must stay in multiples of this, for rows to stay in multiples of round_to
  int64_t least;           // that must stay
  double ratio;            // its own; -1: the common one
  std::vector<int> order;  // channels, lowest score first
};

class Selector {
 public:
  Selector(const Graph& g, const Structure& s, const std::vector<double>& scores, const Selection& o)
      : g_(g), s_(s), scores_(scores), o_(o), removed_(s.group_of.size()) {
    CHECK(o.ratio >= 0 && o.ratio < 1 && o.max_ratio > 0 && o.max_ratio <= 1 && o.round_to >= 1, "ratio ", o.ratio, ", max ratio ",
          o.max_ratio, ", round to ", o.round_to, ": expected 0 <= ratio < 1, 0 < max ratio <= 1, round to >= 1");
    CHECK(scores.size() == s.group_of.size(), "scores: ", scores.size(), " for ", s.group_of.size(), " channels");
    for (size_t i = 0; i < s.groups.size(); ++i) add(i);
    for (auto& l : o.layers) CHECK(used_.count(l.pattern), "layer ratios '", l.pattern, "': ", why_not(l.pattern));
    CHECK(!ranked_.empty(),
          "nothing can be pruned: ", s.groups.empty() ? "there are no channels" : cat(name(g, s.groups[0]), ": ", why(s.groups[0])));
  }

  Removed run() {
    std::vector<Ranked*> common;
    for (Ranked& r : ranked_) {
      if (o_.global && r.ratio < 0)
        common.push_back(&r);
      else
        take(r, keep(r, std::max(r.least, kept(r.width, r.ratio < 0 ? o_.ratio : r.ratio))));
    }
    rank(common);
    return std::move(removed_);
  }

 private:
  static std::string why(const Group& group) { return group.fixed.empty() ? "it has only one channel" : group.fixed; }
  bool matches(const std::string& pattern, const Group& group) const {
    return std::any_of(group.members.begin(), group.members.end(), [&](const Member& m) {
      return (m.role == Role::out || m.role == Role::depthwise) && fnmatch(pattern.c_str(), layer_of(g_, m.tensor).c_str(), 0) == 0;
    });
  }
  std::string why_not(const std::string& pattern) const {
    for (const Group& group : s_.groups)
      if (matches(pattern, group)) return cat(name(g_, group), " cannot lose channels: ", why(group));
    return "no layer with weights has this name";
  }

  void add(size_t index) {
    const Group& group = s_.groups[index];
    const auto size = static_cast<int64_t>(group.channels.size());
    const int64_t width = o_.widths.empty() ? size : o_.widths.at(index);
    if (!group.fixed.empty() || width < 2) return;
    const Member& m = *maker(group);
    const Channels& rows = s_.of[m.tensor][m.axis];
    const int64_t per_channel = std::count(rows.begin(), rows.end(), group.channels[0]);
    Ranked r{&group, width, o_.round_to / std::gcd(o_.round_to, per_channel), least(width), -1, group.channels};
    for (auto& l : o_.layers)
      if (matches(l.pattern, group)) r.ratio = l.ratio, used_.insert(l.pattern);
    for (int c : r.order) CHECK(std::isfinite(scores_[c]), "the score of a channel of ", name(g_, group), " is ", scores_[c]);
    std::stable_sort(r.order.begin(), r.order.end(), [&](int a, int b) { return scores_[a] < scores_[b]; });
    ranked_.push_back(std::move(r));
  }

  int64_t least(int64_t width) const {
    return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(static_cast<double>(width) * (1 - o_.max_ratio) - 1e-9)));
  }
  // How many stay when `wanted` should: rounded down, but not to none.
  int64_t keep(const Ranked& r, int64_t wanted) const {
    const auto size = static_cast<int64_t>(r.order.size());
    if (wanted >= size || r.unit == 1) return std::min(wanted, size);
    CHECK(r.unit < size, name(g_, *r.group), " has ", size, " channels: it cannot lose any and keep a multiple of ", o_.round_to,
          " rows; protect it or round to less");
    int64_t multiple = std::max(r.unit, wanted / r.unit * r.unit);
    if (multiple < r.least) multiple += r.unit;
    return std::min(multiple, size);
  }
  void take(const Ranked& r, int64_t stay) {
    for (size_t i = 0; i + stay < r.order.size(); ++i) removed_[r.order[i]] = true;
  }

  // One ranking over all: the lowest go, as far as their groups may lose them.
  void rank(const std::vector<Ranked*>& groups) {
    int64_t width = 0, size = 0;
    std::vector<std::pair<int, Ranked*>> all;
    std::map<Ranked*, int64_t> stay;
    for (Ranked* r : groups) {
      width += r->width, size += stay[r] = static_cast<int64_t>(r->order.size());
      for (int c : r->order) all.emplace_back(c, r);
    }
    std::stable_sort(all.begin(), all.end(), [&](auto& a, auto& b) { return scores_[a.first] < scores_[b.first]; });
    int64_t go = size - kept(width, o_.ratio);
    for (auto& [channel, r] : all)
      if (go > 0 && stay[r] > r->least) --stay[r], --go;
    for (auto& [r, count] : stay) take(*r, keep(*r, count));
  }

  const Graph& g_;
  const Structure& s_;
  const std::vector<double>& scores_;
  const Selection& o_;
  Removed removed_;
  std::vector<Ranked> ranked_;
  std::set<std::string> used_;
};

}  // namespace

Removed select(const Graph& g, const Structure& s, const std::vector<double>& scores, const Selection& o) {
  return Selector(g, s, scores, o).run();
}

double ratio_for(const Graph& g, const Structure& s, const std::vector<double>& scores, Selection o, double target,
                 const std::function<double(const Graph&)>& cost) {
  auto cost_at = [&](double ratio) {
    o.ratio = ratio;
    return cost(narrowed(g, s, select(g, s, scores, o)));
  };
  double low = 0, high = 1 - 1e-9;
  const double least = cost_at(high);
  CHECK(least <= target, "target ", target, ": the smallest network that can be had costs ", least);
  if (cost_at(0) <= target) return 0;
  while (high - low > 1e-7) {  // low costs too much, high does not
    const double middle = (low + high) / 2;
    (cost_at(middle) <= target ? high : low) = middle;
  }
  return high;
}

}  // namespace vitrine::prune
