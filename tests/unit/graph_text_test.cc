// The printed form of graphs: it reads back equal, its mistakes are found with their line, and no damage crashes the reader.
#include <gtest/gtest.h>
#include <algorithm>

#include <sstream>

#include "engine/core/rng.h"
#include "engine/graph/rewrite.h"
#include "nn/network.h"
#include "quant/placement.h"

namespace vitrine {
namespace {

// A graph with everything a text can hold: attributes of all kinds, several outputs, updates.
const Graph& sample() {
  static Graph g = [] {
    Model m = nn::make_model("iresnet18", 1, {32, 32, 1.0 / 64, 4});
    return with_batch_statistics(quant::with_running_ranges(quant::quantface(m, {6, 6}).graph));
  }();
  return g;
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}
std::string joined(const std::vector<std::string>& all) {
  std::string text;
  for (auto& line : all) text += line + "\n";
  return text;
}
std::string error(const std::string& text) {
  try {
    parse_graph(text);
  } catch (const Error& e) {
    return e.what();
  }
  return "no Error";
}

TEST(GraphText, ReadsBackEqual) {
  std::string text = print(sample());
  Graph again = parse_graph(text);
  EXPECT_EQ(print(again), text);
  EXPECT_EQ(hash(again), hash(sample()));
  EXPECT_EQ(again.nodes.size(), sample().nodes.size());
  EXPECT_EQ(again.updates.size(), sample().updates.size());
  EXPECT_GT(again.updates.size(), 50u);
}

TEST(GraphText, AnEqualGraphBuiltInAnotherOrderPrintsEqually) {
  Graph copy = rewrite(sample(), copy_node);
  EXPECT_EQ(print(copy), print(sample()));
}

TEST(GraphText, TheHashSeesAnAttribute) {
  std::string text = print(sample());
  size_t at = text.find("bits=6");
  ASSERT_NE(at, std::string::npos);
  text[at + 5] = '8';
  EXPECT_NE(hash(parse_graph(text)), hash(sample()));
}

TEST(GraphText, MistakesAreNamedWithTheirLine) {
  const std::string head = "vitrine graph 1\ninput %0 data f32[2,3]\nparameter %1 w f32[3]\n";
  EXPECT_EQ(error(head + "%2 = add %0 %1 : f32[2,3]\noutput %2\n"), "no Error");
  const std::pair<const char*, const char*> bad[] = {
      {"%2 = sub2 %0 %1 : f32[2,3]\n", "line 4: unknown operator 'sub2'"},
      {"%2 = add %0 %7 : f32[2,3]\n", "line 4: value %7 is not known here"},
      {"%2 = add %0 %2 : f32[2,3]\n", "line 4: value %2 is not known here"},
      {"%2 = add %0 %1 : f32[2,4]\n", "line 4: add gives f32[2,3], the text says f32[2,4]"},
      {"%3 = add %0 %1 : f32[2,3]\n", "line 4: value %3: expected %2"},
      {"%2 %3 = add %0 %1 : f32[2,3] f32[2,3]\n", "line 4: add has 1 outputs"},
      {"%2 = add %0 %1 speed=1 : f32[2,3]\n", "line 4: add has no attributes"},
      {"%2 = reshape %0 shape=3,2 axis=1 : f32[3,2]\n", "line 4: unknown attribute axis"},
      {"%2 = reshape %0 shape=3,x : f32[3,2]\n", "line 4: attribute shape"},
      {"%2 = reshape %0 shape=4,2 : f32[4,2]\n", "line 4: "},
      {"%2 = add %0 %1\n", "line 4: expected: %id = operator"},
      {"parameter %2 w f32[3]\n", "line 4: graph: value name 'w' is empty or taken"},
      {"parameter %2 v f31[3]\n", "line 4: unknown dtype 'f31'"},
      {"parameter %2 v f32[-3]\n", "line 4: shape [-3] is negative"},
      {"parameter %2 v f32[9999999,9999999,9999999]\n", "absurdly large"},
      {"parameter %2 v f32[0,1099511627776,1099511627776]\n", "absurdly large"},
      {"parameter %2 v f32[99999999999999999999]\n", "is not an integer"},
      {"parameter %2 v f32\n", "is not dtype[shape]"},
      {"parameter %2 f32[3]\n", "line 4: expected: parameter %id name"},
      {"parameter 2 v f32[3]\n", "line 4: '2' is not a value"},
      {"output %9\n", "line 4: value %9"},
      {"outputs %0\n", "line 4: 'outputs': expected input, parameter"},
      {"update %1 = %0\n", "update of %1"},
  };
  for (auto& [line, want] : bad) EXPECT_NE(error(head + line).find(want), std::string::npos) << line << error(head + line);
  EXPECT_NE(error("").find("vitrine graph 1"), std::string::npos);
  EXPECT_NE(error("vitrine graph 2\n").find("vitrine graph 1"), std::string::npos);
}

TEST(GraphText, NoOperatorIsGivenFewerOrMoreInputsThanItReads) {
  const std::string head = "vitrine graph 1\ninput %0 data f32[2,3]\n";
  for (const OpDef* op : all_ops())
    EXPECT_NE(error(head + "%1 = " + op->name + " : f32[2,3]\n").find("reads no value"), std::string::npos) << op->name;
  const std::pair<const char*, const char*> bad[] = {
      {"relu %0 %0", "expected 1 inputs, got 2"},         {"clamp %0 %0", "expected 1 inputs, got 2"},
      {"relu_grad %0", "expected 3 inputs, got 1"},       {"clamp_grad %0 %0", "expected 3 inputs, got 2"},
      {"l2_normalize %0 %0", "expected 1 inputs, got 2"}, {"l2_normalize_grad %0", "expected 2 inputs, got 1"}};
  for (auto& [call, want] : bad) EXPECT_NE(error(head + "%1 = " + call + " : f32[2,3]\n").find(want), std::string::npos) << call;
}

// Success is fine where the damage did not matter; then the graph must print and read back.
void survives(const std::string& text) {
  try {
    Graph g = parse_graph(text);
    ASSERT_EQ(print(parse_graph(print(g))), print(g)) << text;
  } catch (const Error&) {
  }
}

TEST(GraphText, NoMissingDoubledOrMovedLineCrashesTheReader) {
  auto all = lines(print(sample()));
  int refused = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    auto without = all, twice = all, swapped = all;
    without.erase(without.begin() + i);
    twice.insert(twice.begin() + i, all[i]);
    std::swap(swapped[i], swapped[(i + 1) % all.size()]);
    refused += error(joined(without)) != "no Error";
    for (auto& damaged : {without, twice, swapped}) survives(joined(damaged));
  }
  int optional = static_cast<int>(sample().updates.size() + sample().outputs.size());
  EXPECT_EQ(refused, static_cast<int>(all.size()) - optional) << "all but updates and outputs are needed";
}

// A short text in which every byte can be damaged many times.
std::string short_text() {
  Graph g;
  Id x = g.add_value(Value::Kind::input, "data", {{1, 6, 6, 4}}), w = g.add_value(Value::Kind::parameter, "conv.weight", {{4, 3, 3, 4}});
  Tensors named;
  Id c[4];
  for (int i = 0; i < 4; ++i) c[i] = g.add_value(i < 2 ? Value::Kind::parameter : Value::Kind::buffer, cat("bn.", i), {{4}});
  auto with = [](const char* op, const std::string& attrs) {
    AttrsPtr a = op_named(op).attrs();
    parse(*a, attrs);
    return a;
  };
  Id y = g.add_node(op_named("conv2d"), with("conv2d", "stride_h=2 stride_w=2 pad_h=1 pad_w=1"), {x, w})[0];
  auto bn = g.add_node(op_named("batch_norm_train"), with("batch_norm_train", "eps=1e-05 momentum=0.1"), {y, c[0], c[1], c[2], c[3]});
  g.updates = {{c[2], bn[3]}, {c[3], bn[4]}};
  Id flat = g.add_node(op_named("reshape"), with("reshape", "shape=0,-1"), {bn[0]})[0];
  Id total = g.add_node(op_named("sum"), with("sum", "first=1 count=1 keep=1"), {flat})[0];
  g.outputs = {g.add_node(op_named("transpose"), with("transpose", "shape=1,0"), {total})[0]};
  check(g);
  return print(g);
}

TEST(GraphText, NoTruncationCrashesTheReader) {
  std::string text = short_text();
  for (size_t n = 0; n <= text.size(); ++n) survives(text.substr(0, n));
}

TEST(GraphText, NoRandomDamageCrashesTheReader) {
  const std::string text = short_text(), alphabet = "0123456789-%=,.[]: \nabefinpsx\t\xff";
  Philox rng(3);
  int refused = 0;
  const int trials = 20000;
  for (int t = 0; t < trials; ++t) {
    std::string damaged = text;
    for (uint64_t k = 0, n = 1 + rng.below(3); k < n; ++k) {
      size_t at = rng.below(damaged.size());
      if (rng.below(3) == 0)
        damaged.erase(at, 1 + rng.below(4));
      else if (rng.below(2))
        damaged.insert(at, 1, alphabet[rng.below(alphabet.size())]);
      else
        damaged[at] = alphabet[rng.below(alphabet.size())];
    }
    survives(damaged);
    refused += error(damaged) != "no Error";
  }
  EXPECT_GT(refused, trials / 2) << "the damage did not reach the reader";
}

// Numbers at the edges of their types, in every place that takes a number.
TEST(GraphText, NoExtremeNumberCrashesTheReader) {
  const std::string text = short_text();
  for (const char* number : {"0", "-1", "9223372036854775807", "-9223372036854775808", "4611686018427387904", "1e308", "nan", ""})
    for (size_t i = 0; i < text.size();) {
      size_t end = i;
      while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
      if (end > i) survives(text.substr(0, i) + number + text.substr(end));
      i = std::max(end, i + 1);
    }
}

}  // namespace
}  // namespace vitrine
