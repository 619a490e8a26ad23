// The printed form of a graph, which files hold. One line per value or node:
//   vitrine graph 1
//   input %0 data f32[1,112,112,3]
//   parameter %1 conv1.weight f32[64,3,3,3]
//   buffer %2 bn1.running_mean f32[64]
//   %3 = conv2d %0 %1 stride_h=1 ... : f32[1,112,112,64]
//   update %2 = %9
//   output %40
#include <algorithm>
#include <sstream>

#include "engine/core/text.h"
#include "engine/graph/graph.h"
#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

constexpr const char* kHeader = "vitrine graph 1";
constexpr const char* kKinds[] = {"computed", "input", "parameter", "buffer"};

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream in(line);
  for (std::string w; in >> w;) words.push_back(w);
  return words;
}

int64_t integer(std::string_view text) {
  const auto v = number_from<int64_t>(text);
  CHECK(v, "'", text, "' is not an integer");
  return *v;
}

// "f32[1,112,112,3]"
Meta parse_meta(const std::string& text) {
  size_t open = text.find('[');
  CHECK(open != std::string::npos && text.back() == ']', "'", text, "' is not dtype[shape]");
  Meta m{{}, dtype_named(text.substr(0, open))};
  std::istringstream list(text.substr(open + 1, text.size() - open - 2));
  for (std::string item; std::getline(list, item, ',');) m.shape.push_back(integer(item));
  check_extents(m.shape);
  return m;
}

struct Parser {
  Graph g;

  Id id(const std::string& word, bool fresh) {
    CHECK(word.size() > 1 && word[0] == '%', "'", word, "' is not a value: expected %number");
    int64_t i = integer(std::string_view(word).substr(1)), size = static_cast<int64_t>(g.values.size());
    CHECK(size < 65536, "more than 65536 values, expected a network");  // names are compared one by one: keeps hostile text cheap
    if (fresh)
      CHECK(i == size, "value ", word, ": expected %", size, " (values are numbered in order)");
    else
      CHECK(i >= 0 && i < size, "value ", word, " is not known here");
    return static_cast<Id>(i);
  }

  void named(Value::Kind kind, const std::vector<std::string>& w) {
    CHECK(w.size() == 4, "expected: ", w[0], " %id name dtype[shape]");
    id(w[1], true);
    g.add_value(kind, w[2], parse_meta(w[3]));
  }

  // %a %b = op %x %y attr=value : meta meta
  void node(const std::vector<std::string>& w) {
    size_t equals = std::find(w.begin(), w.end(), "=") - w.begin(), colon = std::find(w.begin(), w.end(), ":") - w.begin();
    CHECK(equals + 1 < w.size() && colon < w.size() && equals < colon, "expected: %id = operator %inputs attributes : dtype[shape]");
    const OpDef& op = op_named(w[equals + 1]);
    std::vector<Id> in;
    std::string attrs_text;
    for (size_t i = equals + 2; i < colon; ++i) {
      if (w[i][0] == '%')
        in.push_back(id(w[i], false));
      else
        attrs_text += " " + w[i];
    }
    AttrsPtr attrs = op.attrs ? op.attrs() : nullptr;
    CHECK(attrs || attrs_text.empty(), op.name, " has no attributes, got", attrs_text);
    if (attrs) parse(*attrs, attrs_text);
    int64_t first = static_cast<int64_t>(g.values.size());
    std::vector<Id> out = g.add_node(op, attrs, in);
    CHECK(equals == out.size() && w.size() - colon - 1 == out.size(), op.name, " has ", out.size(), " outputs");
    for (size_t i = 0; i < out.size(); ++i) {
      CHECK(w[i] == cat("%", first + static_cast<int64_t>(i)), "value ", w[i], ": expected %", first + static_cast<int64_t>(i));
      CHECK(parse_meta(w[colon + 1 + i]) == g.values[out[i]].meta, op.name, " gives ", str(g.values[out[i]].meta), ", the text says ",
            w[colon + 1 + i]);
    }
  }

  void line(const std::string& text) {
    auto w = split(text);
    if (w.empty()) return;
    if (w[0] == "input")
      named(Value::Kind::input, w);
    else if (w[0] == "parameter")
      named(Value::Kind::parameter, w);
    else if (w[0] == "buffer")
      named(Value::Kind::buffer, w);
    else if (w[0] == "update" && w.size() == 4 && w[2] == "=")
      g.updates.push_back({id(w[1], false), id(w[3], false)});
    else if (w[0] == "output" && w.size() == 2)
      g.outputs.push_back(id(w[1], false));
    else if (w[0][0] == '%')
      node(w);
    else
      throw Error(cat("'", w[0], "': expected input, parameter, buffer, update, output or %id"));
  }
};

}  // namespace

std::string print(const Graph& g) {
  // Values are renumbered in the order of the text, so that equal graphs print equally whatever passes made of their ids.
  std::vector<int> number(g.values.size(), -1);
  int next = 0;
  std::ostringstream out;
  out << kHeader << "\n";
  for (size_t i = 0; i < g.values.size(); ++i) {
    const Value& v = g.values[i];
    if (v.kind == Value::Kind::computed) continue;
    number[i] = next++;
    out << kKinds[static_cast<int>(v.kind)] << " %" << number[i] << " " << v.name << " " << str(v.meta) << "\n";
  }
  for (const GraphNode& node : g.nodes) {
    for (Id id : node.out) out << "%" << (number[id] = next++) << " ";
    out << "= " << node.op->name;
    for (Id id : node.in) out << " %" << number[id];
    if (node.attrs) out << print(*node.attrs);
    out << " :";
    for (Id id : node.out) out << " " << str(g.values[id].meta);
    out << "\n";
  }
  for (auto& u : g.updates) out << "update %" << number[u.state] << " = %" << number[u.value] << "\n";
  for (Id id : g.outputs) out << "output %" << number[id] << "\n";
  return out.str();
}

Graph parse_graph(const std::string& text) {
  std::istringstream in(text);
  Parser parser;
  std::string line;
  CHECK(std::getline(in, line) && line == kHeader, "graph text: expected the first line '", kHeader, "'");
  for (int number = 2; std::getline(in, line); ++number) {
    try {
      parser.line(line);
    } catch (const Error& e) {
      throw Error(cat("graph text, line ", number, ": ", e.what()));
    }
  }
  check(parser.g);
  return parser.g;
}

uint64_t hash(const Graph& g) {  // FNV-1a
  uint64_t h = 0xcbf29ce484222325;
  for (unsigned char c : print(g)) h = (h ^ c) * 0x100000001b3;
  return h;
}

}  // namespace vitrine
