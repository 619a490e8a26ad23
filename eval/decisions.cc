#include "eval/decisions.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

#include "engine/core/error.h"
#include "engine/core/text.h"
#include "eval/line_blocks.h"
#include "eval/lines.h"

namespace vitrine::eval {

std::vector<Decision> decide(const Trials& trials, const Verification& v) {
  std::vector<Decision> all;
  for (const Trial& t : trials.all)
    all.push_back({.same = t.same, .correct = (t.distance < v.folds.at(t.fold).threshold) == t.same, .distance = t.distance});
  return all;
}

void write_decisions(std::ostream& out, const PairList& list, const Trials& trials, const Verification& v) {
  const auto decisions = decide(trials, v);
  out << "image\timage\tsame\tfold\tdistance\tcorrect\n";
  for (size_t i = 0; i < decisions.size(); ++i) {
    char numbers[64];
    std::snprintf(numbers, sizeof numbers, "\t%d\t%d\t%.17g\t%d\n", decisions[i].same, trials.all[i].fold + 1, decisions[i].distance,
                  decisions[i].correct);
    out << list.images[list.pairs[i].a] << '\t' << list.images[list.pairs[i].b] << numbers;
  }
}

std::vector<Decision> read_decisions(const std::string& path) {
  constexpr int kMostFolds = 1'000'000;
  std::vector<Decision> all;
  std::array<std::string_view, 6> f;
  bool title = true;
  for_each_line(path, [&](std::string_view line, int64_t number) {
    const std::string where = cat(path, ":", number, ": ");
    const int count = split_fields(line, where, f);
    CHECK(count == 6, where, count, " fields, expected image, image, same, fold, distance, correct");
    if (std::exchange(title, false)) return;
    Decision d{.same = parse_number(f[2], 0, 1, where) == 1, .correct = parse_number(f[5], 0, 1, where) == 1};
    parse_number(f[3], 1, kMostFolds, where);
    d.distance = number_from<double>(f[4]).value_or(NAN);
    CHECK(std::isfinite(d.distance), where, excerpt(f[4]), ", expected a distance");
    d.pair = cat(f[0], ' ', f[1]);
    all.push_back(std::move(d));
  });
  CHECK(!all.empty(), path, ": no pair, expected a line each");
  return all;
}

}  // namespace vitrine::eval
